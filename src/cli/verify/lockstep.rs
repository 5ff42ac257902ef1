//! `--lockstep`: training steps on the GPU and the oracle side by side.

use std::path::PathBuf;

use super::Args;
use super::report::{Report, head};
use crate::cli::failure::{Exit, Usage, of_a_model};
use crate::cli::learned;
use crate::cli::output::Output;
use crate::cli::subject::stored;
use crate::engine::device::Device;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::gpu::GpuOptions;
use crate::finetune::job::Job;
use crate::models::config::{ModelConfig, Position};
use crate::run::config::TrainConfig;
use crate::run::model_file::tokenizer;
use crate::run::origin::Origin;
use crate::run::settings::Settings;
use crate::sample::generator::Generator;
use crate::sample::load::Stored;
use crate::text::corpus::TALES;
use crate::text::dataset::Dataset;
use crate::train::plans::{StepShape, training};
use crate::train::pretraining::pretraining;
use crate::train::trainer::Trainer;
use crate::verify::lockstep::{Departure, Lockstep, Watch};

/// A model and what it learns.
pub struct Subject {
    pub config: TrainConfig,
    pub model: ModelConfig,
    learns: Learns,
}

enum Learns {
    /// To predict a text, from the weights of a folder if one is given.
    Text { dataset: Dataset, weights: Option<PathBuf> },
    /// What a stage of fine-tuning teaches.
    Stage(Box<Job>),
}

/// What `--preset` or `--model` names; `None` without either.
pub fn subject(args: &Args, output: Output) -> anyhow::Result<Option<Subject>> {
    if let Some(folder) = &args.model
        && let Some(stage) = Job::reopen(folder, &Settings::default())?
    {
        let (config, model) = (stage.setup.config.clone(), stage.setup.model.clone());
        return Ok(Some(Subject { config, model, learns: Learns::Stage(Box::new(stage)) }));
    }
    let (config, held) = match (&args.preset, &args.model) {
        (None, None) => return Ok(None),
        (Some(_), _) => {
            let settings = Settings { preset: args.preset.clone(), ..Settings::default() };
            (settings.resolve()?, None)
        }
        (None, Some(folder)) => {
            let (config, model) = stored(folder, &Settings::default())?;
            (config, Some((model, tokenizer(folder)?)))
        }
    };
    // What a published model was trained on is not known, and any text has the shapes.
    let published = held.as_ref().is_some_and(|(_, tokenizer)| tokenizer.published().is_some());
    let data = config.data.as_deref().or(published.then_some(TALES));
    let reading = config.reading();
    let mut origin = args.model.as_deref().map(Origin::read).transpose()?;
    let data = match &mut origin {
        Some(origin) => args.places.of_run(origin, data, None, &reading, output)?.0,
        None => args.places.locate(data, &reading, output)?,
    };
    // With it, none of the data is held out.
    let val = match (&mut origin, &config.val_data) {
        (_, None) => None,
        (Some(origin), Some(was)) => Some(args.places.val_of_run(origin, was, None, &reading, output)?.0),
        (None, Some(name)) => Some(args.places.locate(Some(name), &reading, output)?),
    };
    let (model, tokenizer) = match held {
        Some(held) => held,
        None => {
            let tokenizer = learned::tokenizer(&config, &data, &args.places, output)?;
            (config.model(tokenizer.vocab_size()), tokenizer)
        }
    };
    let dataset = learned::dataset(&data, val.as_ref(), &tokenizer, &args.places, output)?;
    dataset.check(config.model.block_size).map_err(of_a_model)?;
    model.check()?;
    let learns = Learns::Text { dataset, weights: args.model.clone() };
    Ok(Some(Subject { config, model, learns }))
}

impl Subject {
    /// FLOPs of one step.
    pub fn step_flops(&self) -> anyhow::Result<u64> {
        if let Learns::Stage(stage) = &self.learns {
            return Ok(stage.rerun(&mut Cpu::<f32>::default(), 1)?.step_flops());
        }
        let shape = StepShape::pretraining(&self.model, self.config.batch_size, self.config.grad_accum);
        let plan = training(&self.model, shape, &self.config.optimizer_config())?;
        Ok((0..plan.phases.len()).map(|phase| plan.cost(phase).flops).sum())
    }

    /// Sequences of a step, and their length.
    pub fn shape(&self) -> [usize; 2] {
        [self.config.batch_size, self.config.model.block_size]
    }

    /// Takes fewer sequences and, where no table of positions in the weights has their length, shorter ones until a
    /// step has no more FLOPs than this; whether that was possible.
    pub fn shrink(&mut self, most_flops: u64) -> anyhow::Result<bool> {
        let Learns::Text { weights, .. } = &self.learns else {
            return Ok(self.step_flops()? <= most_flops);
        };
        let fixed = weights.is_some() && self.model.position == Position::Learned;
        // The second micro-step is like all further ones.
        self.config.grad_accum = self.config.grad_accum.min(2);
        while self.step_flops()? > most_flops {
            if self.config.batch_size > 1 {
                self.config.batch_size = self.config.batch_size.div_ceil(2);
            } else if !fixed && self.config.model.block_size > 1 {
                self.config.model.block_size = self.config.model.block_size.div_ceil(2);
                self.model.block_size = self.config.model.block_size;
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One step of training and two of decoding, on whatever device.
    pub fn run_once(&self, device: &mut dyn Device, train: bool) -> anyhow::Result<()> {
        if train {
            let mut trainer = self.trainer(device, 1)?;
            trainer.submit(device)?;
            trainer.report(device, true)?;
        }
        if let (Ok(()), Learns::Text { dataset, .. }) = (self.model.predicts_next(), &self.learns) {
            let first = dataset.train.first();
            let tokens = first[..self.config.model.block_size.min(first.len())].to_vec();
            let mut generator = Generator::new(self.model.clone());
            generator.start(device, &tokens)?;
            generator.push(device, tokens[0])?;
        }
        Ok(())
    }

    /// Before the first of `steps` steps.
    fn trainer(&self, device: &mut dyn Device, steps: u64) -> anyhow::Result<Trainer> {
        let (dataset, weights) = match &self.learns {
            Learns::Text { dataset, weights } => (dataset, weights),
            Learns::Stage(stage) => return stage.rerun(device, steps),
        };
        let source = pretraining(&self.config, &self.model, dataset.clone())?;
        let trainer = Trainer::new(device, self.config.clone(), self.model.clone(), source)?;
        if let Some(folder) = weights {
            let mut stored = Stored::open(folder)?;
            for parameter in trainer.parameters() {
                device.write(&parameter.name, &stored.read(&parameter)?)?;
            }
        }
        Ok(trainer)
    }
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let steps = args.lockstep.unwrap_or(1);
    let named = subject(args, output)?;
    let subject = named.ok_or_else(|| Usage("--lockstep needs --preset NAME or --model DIR".into()))?;
    let needs_gpu = || Usage("--lockstep compares with a GPU: leave out --device cpu".into());
    let mut gpu = args.gpu(GpuOptions::default())?.ok_or_else(needs_gpu)?;
    head(output, Some(&gpu))?;

    // The free run: the GPU by itself, from the same weights over the same batches.
    let mut free = args.gpu(GpuOptions::default())?.ok_or_else(needs_gpu)?;
    let mut free_trainer = subject.trainer(&mut free, steps)?;
    let mut lockstep = Lockstep::device(&mut gpu, Watch::Every);
    let mut trainer = subject.trainer(&mut lockstep, steps)?;
    let mut report = Report::default();
    let mut growth = Vec::new();
    let of = match &args.model {
        Some(model) => format!("--model '{}'", model.display()),
        None => format!("--preset {}", subject.config.preset),
    };
    for step in 1..=steps {
        trainer.submit(&mut lockstep)?;
        free_trainer.submit(&mut free)?;
        let loss = |report: Option<crate::train::trainer::StepReport>| report.map_or(f32::NAN, |r| r.loss);
        let (want, got) =
            (loss(trainer.report(&mut lockstep, true)?), loss(free_trainer.report(&mut free, true)?));
        let apart = distance(&mut free, &mut lockstep, &trainer)?;
        growth.push(apart);
        let nodes = lockstep.hook.checks.len();
        let repeat = format!("lal verify --lockstep {step} {of}{}", args.device_flags());
        for check in std::mem::take(&mut lockstep.hook.checks) {
            report.take(output, check, &repeat)?;
        }
        output.remark(format!(
            "step {step}: {nodes} nodes, loss {want:.6} on the oracle, {got:.6} on the GPU alone, weights {apart:.1e} apart"
        ));
        if lockstep.hook.departure.is_some() {
            break;
        }
    }
    if !output.json {
        if let Some(departure) = &lockstep.hook.departure {
            describe(output, departure)?;
        }
        plot(output, &growth)?;
    }
    report.finish(output)
}

fn describe(output: Output, departure: &Departure) -> anyhow::Result<()> {
    output.line(format!("\nthe first node outside its bound: {}", departure.check.case))?;
    output
        .line(format!("{:>18} {:>12} {:>12} {:>12} {:>12} {:>6}", "", "min", "max", "mean", "rms", "NaN"))?;
    for (i, sides) in departure.statistics.iter().enumerate() {
        for (name, s) in ["GPU", "oracle"].iter().zip(sides) {
            let name = format!("output {i}, {name}");
            output.line(format!(
                "{name:>18} {:>12.4e} {:>12.4e} {:>12.4e} {:>12.4e} {:>6}",
                s.min, s.max, s.mean, s.rms, s.nans
            ))?;
        }
    }
    Ok(())
}

/// ‖w − w′‖ / ‖w′‖ over all weights w on one device and w′ on the other.
fn distance(one: &mut dyn Device, other: &mut dyn Device, trainer: &Trainer) -> anyhow::Result<f64> {
    let (mut difference, mut norm) = (0.0, 0.0);
    for parameter in trainer.parameters() {
        let (w, other) = (one.read(&parameter.name)?, other.read(&parameter.name)?);
        for (w, other) in w.iter().zip(&other).map(|(&w, &other)| (f64::from(w), f64::from(other))) {
            difference += (w - other).powi(2);
            norm += other.powi(2);
        }
    }
    Ok((difference / norm).sqrt())
}

/// How the weights of the GPU alone and of the oracle drift apart, on a logarithmic scale.
fn plot(output: Output, growth: &[f64]) -> anyhow::Result<()> {
    output.line("\nweights of the GPU alone and of the oracle, relative distance from 1e-9 to 1")?;
    for (step, apart) in growth.iter().enumerate() {
        let bar = (40.0 * (apart.max(1e-9).log10() + 9.0) / 9.0).clamp(0.0, 40.0) as usize;
        output.line(format!("{:>5} {apart:>9.1e} {}", step + 1, "━".repeat(bar)))?;
    }
    Ok(())
}
