//! `lal profile`: where a step's time goes.

use std::path::PathBuf;

use serde::Serialize;

use super::device::{DeviceArgs, roofline};
use super::failure::{Exit, Usage};
use super::hub::located_if;
use super::output::Output;
use super::recording::{machine, recording};
use super::subject::stored;
use crate::engine::device::Device;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::engine::plan::PlanNode;
use crate::explain::kernel::Explained;
use crate::explain::listing::listing;
use crate::explain::machine::{Machine, Peaks};
use crate::explain::record::Work;
use crate::explain::table::{self, Compared};
use crate::files::write_output;
use crate::finetune::job::Job;
use crate::models::config::ModelConfig;
use crate::profile::columns::wrapped;
use crate::profile::errors::Errors;
use crate::profile::html::page;
use crate::profile::measure::measure;
use crate::profile::report::Report;
use crate::profile::roofline::Roofline;
use crate::profile::trace::Trace;
use crate::profile::workload::{Workload, shape, vocab_size};
use crate::profile::writing::tokens_per_second;
use crate::run::config::TrainConfig;
use crate::run::settings::Settings;
use crate::train::estimate::least_memory;
use crate::train::plans::StepShape;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    /// Profile this model, with the settings of its run: a folder, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL", conflicts_with = "preset")]
    model: Option<PathBuf>,
    /// What to profile: a training step, or decoding one token
    #[arg(long, default_value = "train", value_name = "NAME")]
    mode: Mode,
    /// Write a trace for Perfetto (ui.perfetto.dev) or Chrome's about:tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Write a report with the roofline and a timeline of the step
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Say what binds the kernels that take most of the step: the shader's lines with what each of them costs
    #[arg(long)]
    explain: bool,
    /// With --explain: the GPU to explain for, when it is not the adapter's own
    #[arg(long, requires = "explain", value_name = "NAME", value_parser = machine)]
    machine: Option<Machine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Train,
    Decode,
}

/// Kernels shown without `--verbose`.
const SHOWN: usize = 20;
/// Kernels explained, and those of them whose shaders are listed, without `--verbose`.
const EXPLAINED: usize = 8;
const LISTED: usize = 3;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Done {
        step_us: f64,
        median_us: f64,
        gpu_us: f64,
        host_us: f64,
        submissions: usize,
        /// Of a text, in which tokens may share a submission.
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens_per_second: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dispatches: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        barriers: Option<usize>,
    },
}

pub fn run(mut args: Args, output: Output) -> anyhow::Result<Exit> {
    args.model = located_if(args.model, output)?;
    let asked = asked(&args)?;
    let recorder = if args.explain { Some(recording(&args.device)?) } else { None };
    let mut opened = args.device.open(output)?;
    let given = workload(args.mode, &asked, opened.device())?;
    let device = opened.subject();
    output.detail("measuring what the device can reach");
    let (roofline, measured) = roofline(device)?;
    if let Some(date) = measured {
        output.remark(format!("its limits are those that `lal bench --limits` measured on {date}"));
    }
    output.detail("measuring the step");
    let mut workload = given.clone();
    let times = measure(device, &mut workload)?;
    let tokens_per_second = match &asked {
        Asked::Model(model) if args.mode == Mode::Decode => Some(tokens_per_second(device, &model.1)?),
        _ => None,
    };
    let described = device.describe();
    let kind = opened.kind();
    drop(opened);
    let errors = if kind == "gpu" { errors(&args, &given, output)? } else { Errors::default() };
    let report = Report::new(described, &workload, &times, roofline, &errors);
    let explained = match recorder {
        Some(recorder) => explained(&args, recorder, kind, &workload, &report, output)?,
        None => Vec::new(),
    };
    if let Some(path) = &args.trace {
        write_output(path, serde_json::to_string(&Trace::new(&report, &workload, &times))?.as_bytes())?;
        output.remark(format!("trace in {}", path.display()));
    }
    if let Some(path) = &args.html {
        write_output(path, page(&report, &workload, &times, &explained).as_bytes())?;
        output.remark(format!("report in {}", path.display()));
    }
    if !output.json {
        output.line(report.to_text(if output.verbose { usize::MAX } else { SHOWN }))?;
        if let Some(rate) = tokens_per_second {
            output.line(format!("writing  {rate:.0} tokens/s, as `lal sample` does"))?;
        }
        if let Some(first) = explained.first() {
            let machine = &first.explained.machine;
            output
                .line(wrapped(&format!("\nwhat binds them on {}: {}", machine.name, machine.sources()), 2))?;
            output.line(table::text(&explained))?;
        }
        for Compared { explained, .. } in
            explained.iter().take(if output.verbose { usize::MAX } else { LISTED })
        {
            output.line(listing(explained, false))?;
        }
        return Ok(Exit::Done);
    }
    for row in &report.rows {
        output.named("kernel", row)?;
    }
    for compared in &explained {
        output.named("explained", &compared.summary())?;
    }
    output.event(&Event::Done {
        step_us: report.step_us,
        median_us: report.median_us,
        gpu_us: report.gpu_us,
        host_us: report.host_us(),
        submissions: report.submissions,
        tokens_per_second,
        dispatches: report.starts.map(|starts| starts.dispatches),
        barriers: report.starts.map(|starts| starts.barriers),
    })?;
    Ok(Exit::Done)
}

/// What binds the kernels that take most of the step.
fn explained(
    args: &Args,
    (mut gpu, own): (Gpu, Machine),
    kind: &str,
    workload: &Workload,
    report: &Report,
    output: Output,
) -> anyhow::Result<Vec<Compared>> {
    let is_of_gpu = kind == "gpu" && !gpu.adapter().software;
    let Roofline { gflops, gbps } = report.roofline;
    let peaks = Peaks { gflops: Some(gflops), memory_gbps: Some(gbps), ..Peaks::default() };
    let is_known = is_of_gpu && Machine::of_adapter(&gpu.adapter().name).is_some();
    let own = if is_known { own.measured(&peaks) } else { own };
    let machine = args.machine.clone().unwrap_or(own);
    let most = if output.verbose { usize::MAX } else { EXPLAINED };
    let rows = &report.rows[..report.rows.len().min(most)];
    let mut bar = output.progress("kernels explained");
    let mut all = Vec::new();
    for (done, row) in rows.iter().enumerate() {
        bar.at(done as u64, rows.len() as u64);
        let is_it = |node: &&PlanNode| node.op.info().name == row.op && shape(node) == row.shape;
        let Some(node) = workload.plan.nodes.iter().find(is_it) else { continue };
        // What a processor takes is not what a GPU would.
        let variant = is_of_gpu.then_some(row.variant);
        let explained = Explained::new(&mut gpu, &Work::of_node(node), variant, &machine)?;
        if explained.dispatches.is_empty() {
            continue;
        }
        all.push(Compared { explained, measured_percent: is_of_gpu.then_some(row.roofline_percent) });
    }
    bar.clear();
    Ok(all)
}

/// How far from the oracle the kernels are that have just been timed.
fn errors(args: &Args, workload: &Workload, output: Output) -> anyhow::Result<Errors> {
    output.detail("comparing the kernels with the oracle");
    let Some(mut gpu) = args.device.gpu(GpuOptions { poison: true, ..GpuOptions::default() })? else {
        return Ok(Errors::default());
    };
    let errors = Errors::measure(&mut gpu, workload)?;
    if errors.skipped > 0 {
        output.remark(format!(
            "{} of {} nodes are too much for the oracle: `lal verify` checks their kernels on smaller ones",
            errors.skipped,
            workload.plan.nodes.len()
        ));
    }
    for op in errors.wrong() {
        output.remark(format!("{op} is WRONG at these shapes: `lal verify --op {op}` says where"));
    }
    Ok(errors)
}

/// What is to be profiled.
enum Asked {
    /// A run of fine-tuning: the step that it learns by.
    Stage(Box<Job>),
    /// A model and how it is pretrained.
    Model(Box<(TrainConfig, ModelConfig)>),
}

/// What the flags ask for.
fn asked(args: &Args) -> anyhow::Result<Asked> {
    let (config, model) = subject(args)?;
    if args.mode == Mode::Decode {
        model.predicts_next()?;
    }
    if let (Mode::Train, Some(folder)) = (args.mode, &args.model)
        && let Some(stage) = Job::reopen(folder, &args.settings)?
    {
        return Ok(Asked::Stage(Box::new(stage)));
    }
    Ok(Asked::Model(Box::new((config, model))))
}

/// The plan of what is asked for, unless it is certain that `device` cannot hold it.
fn workload(mode: Mode, asked: &Asked, device: &dyn Device) -> anyhow::Result<Workload> {
    let (config, model) = match asked {
        Asked::Stage(stage) => {
            let shape = stage.rerun(&mut Cpu::<f32>::default(), 1)?.shape();
            let (setup, name) = (&stage.setup, stage.config.method.name());
            return Ok(Workload::training(name, &setup.config, &setup.model, shape)?);
        }
        Asked::Model(model) => (&model.0, &model.1),
    };
    Ok(match mode {
        Mode::Train => {
            let shape = StepShape::pretraining(model, config.batch_size, config.grad_accum);
            device.check_memory(least_memory(model, shape, &config.optimizer_config()).total())?;
            Workload::pretraining(config, model)?
        }
        Mode::Decode => {
            device.check_memory((model.n_parameters() as u64).saturating_mul(4))?;
            Workload::decoding(model)?
        }
    })
}

/// The model and how it is trained: a run's own, or a preset's.
fn subject(args: &Args) -> anyhow::Result<(TrainConfig, ModelConfig)> {
    if let Some(folder) = &args.model {
        return stored(folder, &args.settings);
    }
    let config = args.settings.resolve()?;
    let vocab_size = vocab_size(&config.tokenizer).ok_or_else(|| {
        Usage(format!("there is no tokenizer {:?}: choose char, byte, word, bpe:N or gpt2", config.tokenizer))
    })?;
    let model = config.model(vocab_size);
    model.check()?;
    Ok((config, model))
}
