//! `lal explain`: what binds a kernel, and which of its lines.

use serde_json::json;

use super::device::DeviceArgs;
use super::failure::{Exit, Usage};
use super::output::Output;
use super::recording::{machine, recording};
use super::values::op;
use crate::engine::dispatch::{Operands, Target};
use crate::engine::op::Record;
use crate::engine::plan::{Plan, PlanNode};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::explain::kernel::Explained;
use crate::explain::listing::listing;
use crate::explain::machine::Machine;
use crate::explain::record::Work;
use crate::ops::OPS;
use crate::ops::matmul::Matmul;
use crate::profile::bench::{PRESETS, ladder};
use crate::profile::columns::wrapped;
use crate::verify::check::specs;
use crate::verify::inputs::draw;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The op, and which of its kernels: the one that a GPU takes without measuring when left out (see `lal ops`)
    #[arg(value_name = "OP[/VARIANT]", value_parser = kernel)]
    kernel: Kernel,
    /// At the operands of the first case of `lal verify` whose name contains this
    #[arg(long, value_name = "TEXT", conflicts_with = "shape")]
    case: Option<String>,
    /// At the first shape of `lal bench` that contains this; of matmul any M×N×K. When left out, the one of preset
    /// `char` that takes most
    #[arg(long, value_name = "TEXT")]
    shape: Option<String>,
    /// The GPU to explain for, when it is not the adapter's own
    #[arg(long, value_name = "NAME", value_parser = machine)]
    machine: Option<Machine>,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Clone, Debug)]
struct Kernel {
    op: String,
    variant: Option<String>,
}

fn kernel(text: &str) -> Result<Kernel, String> {
    let (name, variant) = match text.split_once('/') {
        Some((name, variant)) => (name, Some(variant.to_owned())),
        None => (text, None),
    };
    Ok(Kernel { op: op(name)?, variant })
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let work = work(args)?;
    let (mut gpu, own) = recording(&args.device)?;
    let machine = args.machine.clone().unwrap_or(own);
    let variant = args.kernel.variant.as_deref();
    check_variant(&work, gpu.target(), variant)?;
    let explained = Explained::new(&mut gpu, &work, variant, &machine)?;
    if explained.dispatches.is_empty() {
        let name = explained.op;
        return Err(
            Usage(format!("{name} starts no kernel at these operands: there is nothing to explain")).into()
        );
    }
    if output.json {
        output.named("explained", &explained.summary())?;
        output.event(&json!({"event": "done", "kernels": 1}))?;
    } else {
        output.line(listing(&explained, output.verbose))?;
        output.line(wrapped(&format!("{}: {}", machine.name, machine.sources()), 2))?;
    }
    Ok(Exit::Done)
}

/// Refuses a kernel that the op lacks at these operands.
fn check_variant(work: &Work, target: &Target, variant: Option<&str>) -> anyhow::Result<()> {
    let outputs = work.op.infer(&work.specs)?;
    let kernels = work.op.kernels(&Operands { inputs: &work.specs, outputs: &outputs }, target);
    if variant.is_none_or(|variant| kernels.iter().any(|kernel| kernel.variant == variant)) {
        return Ok(());
    }
    let names: Vec<_> = kernels.iter().map(|kernel| kernel.variant).collect();
    Err(Usage(format!(
        "{} has no kernel {:?} at these operands: choose one of {}",
        work.op.info().name,
        variant.unwrap_or_default(),
        names.join(", ")
    ))
    .into())
}

/// The op and the operands that are asked for.
fn work(args: &Args) -> anyhow::Result<Work> {
    let name = args.kernel.op.as_str();
    match (&args.case, &args.shape) {
        (Some(part), _) => case(name, part),
        (_, Some(part)) => shape(name, part),
        _ => largest(name),
    }
}

/// The first case whose name contains `part`.
fn case(name: &str, part: &str) -> anyhow::Result<Work> {
    let cases = OPS.iter().filter(|op| op.name == name).flat_map(|op| (op.cases)());
    let mut named = cases.filter(|case| case.name().contains(part));
    let case = named.next().ok_or_else(|| {
        Usage(format!("no case's name holds {part:?}: `lal verify -v --op {name}` prints the names"))
    })?;
    Ok(Work { op: case.op.clone(), specs: specs(&case)?.0, inputs: draw(&case), step: case.step })
}

/// The first shape of `lal bench` that contains `part`.
fn shape(name: &str, part: &str) -> anyhow::Result<Work> {
    let part = part.replace(['x', '*'], "×");
    let rungs = ladder(&PRESETS, Some(name))?;
    if let Some(rung) = rungs.iter().find(|rung| rung.shape.contains(&part)) {
        return Ok(Work::of_node(rung.node()));
    }
    if let (true, Some([m, n, k])) = (name == "matmul", three(&part)) {
        return product(m, n, k);
    }
    let shapes: Vec<_> = rungs.iter().map(|rung| format!("\n  {}", rung.shape)).collect();
    let more = if name == "matmul" { ", or give M×N×K" } else { "" };
    Err(Usage(format!("no shape of {name} in `lal bench` holds {part:?}{more}:{}", shapes.concat())).into())
}

fn three(text: &str) -> Option<[usize; 3]> {
    let extents: Vec<usize> = text.split('×').map(str::parse).collect::<Result<_, _>>().ok()?;
    extents.try_into().ok().filter(|extents: &[usize; 3]| extents.iter().all(|&n| (1..=MOST).contains(&n)))
}

/// The longest extent of a product: operands stay below a gigabyte.
const MOST: usize = 1 << 14;

/// A linear layer's product: x (M, K) by Wᵀ (N, K).
fn product(m: usize, n: usize, k: usize) -> anyhow::Result<Work> {
    let mut tape = Tape::new("product");
    let operands = [("x", [m, k]), ("w", [n, k])].map(|(name, shape)| tape.input(name, Spec::f32(shape)));
    let outputs = tape.record(std::sync::Arc::new(Matmul::LINEAR), &operands)?;
    let plan = Plan::new(&tape, &outputs)?;
    Ok(Work::of_node(&plan.nodes[0]))
}

/// Where preset `char` has the op do most; of an op that it lacks, the other presets or the largest case.
fn largest(name: &str) -> anyhow::Result<Work> {
    for presets in [&["char"][..], &PRESETS] {
        let rungs = ladder(presets, Some(name))?;
        let most = |node: &PlanNode| (node.cost().flops, node.cost().bytes);
        if let Some(rung) = rungs.iter().rev().max_by_key(|rung| most(rung.node())) {
            return Ok(Work::of_node(rung.node()));
        }
    }
    let cases = OPS.iter().filter(|op| op.name == name).flat_map(|op| (op.cases)());
    let size =
        |case: &crate::engine::case::Case| -> usize { case.inputs.iter().map(|i| i.spec.shape.len()).sum() };
    let case = cases.max_by_key(size).ok_or_else(|| Usage(format!("{name} has no cases")))?;
    Ok(Work { op: case.op.clone(), specs: specs(&case)?.0, inputs: draw(&case), step: case.step })
}
