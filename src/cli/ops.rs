//! `lal ops`: the registry.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::failure::{Exit, Usage};
use super::output::Output;
use crate::engine::dispatch::{Operands, Target};
use crate::engine::op::OpInfo;
use crate::inspect::activations::{activations, svg};
use crate::ops::OPS;
use crate::run::aside::write_whole;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this op
    pub name: Option<String>,
    /// Draw the activations and their slopes
    #[arg(long, value_name = "FILE.svg")]
    pub curves: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    op: &'static str,
    formula: &'static str,
    variants: Vec<&'static str>,
    shaders: Vec<String>,
    cases: usize,
}

impl Row {
    fn new(info: &'static OpInfo) -> Self {
        let cases = (info.cases)();
        let mut variants = Vec::new();
        let mut shaders = BTreeSet::new();
        for case in &cases {
            let inputs: Vec<_> = case.inputs.iter().map(|i| i.spec).collect();
            let Ok(outputs) = case.op.infer(&inputs) else { continue };
            let operands = Operands { inputs: &inputs, outputs: &outputs };
            for kernel in case.op.kernels(&operands, &Target::WEBGPU) {
                if !variants.contains(&kernel.variant) {
                    variants.push(kernel.variant);
                }
                shaders.extend(kernel.dispatches.iter().map(|d| format!("shaders/{}.wgsl", d.shader.name)));
            }
        }
        Self {
            op: info.name,
            formula: info.formula,
            variants,
            shaders: shaders.into_iter().collect(),
            cases: cases.len(),
        }
    }
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    if let Some(path) = &args.curves {
        let x: Vec<_> = (-80..=80).map(|i| i as f32 / 20.0).collect();
        write_whole(path, svg(&activations(&x)?)?.as_bytes())?;
        output.remark(format!("picture in {}", path.display()));
        return Ok(Exit::Done);
    }
    let wanted = |info: &&&'static OpInfo| args.name.as_ref().is_none_or(|name| info.name == name);
    let rows: Vec<_> = OPS.iter().filter(wanted).map(|info| Row::new(info)).collect();
    if rows.is_empty() {
        let names: Vec<_> = OPS.iter().map(|info| info.name).collect();
        let name = args.name.as_deref().unwrap_or_default();
        return Err(Usage(format!("there is no op {name:?}: choose one of {}", names.join(", "))).into());
    }
    for row in &rows {
        if output.json {
            output.event(row)?;
        } else {
            output.line(format!("{:<20} {}", row.op, row.formula))?;
            output.line(format!("{:20} variants {}", "", row.variants.join(", ")))?;
            output.line(format!("{:20} {}", "", row.shaders.join(" ")))?;
        }
    }
    if output.json {
        output.line(format!("{{\"event\":\"done\",\"ops\":{}}}", rows.len()))?;
    }
    Ok(Exit::Done)
}
