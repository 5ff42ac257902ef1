//! `lal ops`: the registry.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::failure::{Exit, Usage};
use super::output::Output;
use super::values::op;
use crate::engine::device::gpu::shader;
use crate::engine::dispatch::{Operands, Target};
use crate::engine::op::OpInfo;
use crate::files::{FileError, write_output};
use crate::inspect::activations::{activations, svg};
use crate::ops::OPS;
use crate::ops::dispatched::dispatched;
use crate::profile::columns::wrapped;
use crate::profile::probes::PROBES;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only this op
    #[arg(value_parser = op)]
    pub name: Option<String>,
    /// Plot the activation functions and their derivatives
    #[arg(long, value_name = "FILE.svg")]
    pub curves: Option<PathBuf>,
    /// Write the WGSL of every shader to this folder, once per set of constants that the cases use
    ///
    /// The text is what the compiler gets, with shared code and constants filled in. What `verify` adds to find
    /// out-of-bounds accesses and races is not in it: that changes the parsed module.
    #[arg(long, value_name = "DIR", conflicts_with = "curves")]
    pub wgsl: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    op: &'static str,
    formula: &'static str,
    variants: Vec<&'static str>,
    shaders: Vec<String>,
    cases: usize,
}

#[derive(Serialize)]
struct Written {
    event: &'static str,
    shaders: usize,
    folder: String,
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
        write_output(path, svg(&activations(&x)?)?.as_bytes())?;
        output.remark(format!("picture in {}", path.display()));
        if output.json {
            output.event(&json!({"event": "done"}))?;
        }
        return Ok(Exit::Done);
    }
    let wanted = |info: &&'static OpInfo| args.name.as_ref().is_none_or(|name| info.name == name);
    let ops: Vec<_> = OPS.iter().copied().filter(wanted).collect();
    if let Some(folder) = &args.wgsl {
        // The roofline's shaders belong to no op of the registry.
        let probes = PROBES.into_iter().filter(|_| args.name.is_none());
        return write_shaders(folder, ops.into_iter().chain(probes), output);
    }
    let rows: Vec<_> = ops.into_iter().map(Row::new).collect();
    for row in &rows {
        if output.json {
            output.named("op", row)?;
        } else {
            let indented = |text: &str| wrapped(&format!("{:21}{text}", ""), 21);
            output.line(wrapped(&format!("{:<20} {}", row.op, row.formula), 21))?;
            output.line(indented(&format!("variants {}", row.variants.join(", "))))?;
            output.line(indented(&row.shaders.join(" ")))?;
        }
    }
    if output.json {
        output.named("done", &json!({"ops": rows.len()}))?;
    }
    Ok(Exit::Done)
}

/// Writes `SHADER,NAME=VALUE….wgsl` for each shader and set of constants.
fn write_shaders(
    folder: &Path,
    ops: impl Iterator<Item = &'static OpInfo>,
    output: Output,
) -> anyhow::Result<Exit> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage(format!("{} is not empty: name a new folder", folder.display())).into());
    }
    let shaders = dispatched(ops)?;
    for (name, dispatch) in &shaders {
        let path = folder.join(format!("{name}.wgsl"));
        let text = shader::text(&dispatch.shader, &dispatch.constants)?;
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(FileError::at("create", parent))?;
        fs::write(&path, text).map_err(FileError::at("write", &path))?;
    }
    if output.json {
        let (folder, shaders) = (folder.display().to_string(), shaders.len());
        output.event(&Written { event: "done", shaders, folder })?;
    } else {
        output.line(format!("{} shaders in {}", shaders.len(), folder.display()))?;
    }
    Ok(Exit::Done)
}
