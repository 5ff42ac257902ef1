//! A model in training on a device: steps, loss estimates, and the tensors a checkpoint holds.

use std::collections::VecDeque;
use std::sync::Arc;

use super::estimate::least_memory;
use super::plans::{StepShape, evaluation, training};
use super::source::{Batch, Measures, Source, SourceError, mean};
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::hash::hash;
use crate::engine::op::OpError;
use crate::engine::plan::{Memory, Plan};
use crate::engine::step::Step;
use crate::engine::tape::{Class, Parameter, State};
use crate::interop::peft::export::{Factor, factors};
use crate::interop::peft::modules::Modules;
use crate::models::adapters::AdapterPart;
use crate::models::config::{ModelConfig, SizeError};
use crate::nn::lora::{Lora, merge};
use crate::objective::Objective;
use crate::objective::inputs::Input;
use crate::optim::schedule::LearningRate;
use crate::run::checkpoint::Adapters;
use crate::run::config::TrainConfig;
use crate::run::tensor_file::{Entry, Give, TensorError};
use crate::text::dataset::{Purpose, Split};
use crate::text::pack::positions;

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Sizes(#[from] SizeError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
    #[error("there is nothing to learn from: {0}")]
    Source(SourceError),
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The objective's loss: for tokens the mean cross-entropy of the batch, in nats per token.
    pub loss: f32,
    pub learning_rate: f64,
    /// The global norm of the gradients before clipping.
    pub grad_norm: f32,
    /// What else the objective measured.
    pub measures: Measures,
}

/// A loss over fixed batches, and what else the objective measures on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub loss: f64,
    pub measures: Measures,
}

/// A model in training.
pub struct Trainer {
    pub config: TrainConfig,
    pub model: ModelConfig,
    /// Whose names layers have in a file of the adapters alone, where the run has one.
    pub exports: Option<Modules>,
    /// Steps handed to the device.
    pub step: u64,
    source: Box<dyn Source>,
    shape: StepShape,
    schedule: LearningRate,
    plan: Arc<Plan>,
    plan_id: PlanId,
    evaluation: Option<PlanId>,
    /// Steps whose results are still to come, oldest first.
    reported: u64,
    memory: Memory,
}

impl Trainer {
    /// Prepares training on `device` from fresh weights.
    pub fn new(
        device: &mut dyn Device,
        config: TrainConfig,
        model: ModelConfig,
        source: Box<dyn Source>,
    ) -> Result<Self, TrainError> {
        let shape = StepShape {
            objective: source.objective(),
            batch_size: config.batch_size,
            time: source.time().unwrap_or(model.block_size),
            grad_accum: config.grad_accum,
            segments: source.has_segments(),
            places: source.places(),
        };
        model.check()?;
        device.check_memory(least_memory(&model, shape, &config.optimizer_config()).total())?;
        let plan = Arc::new(training(&model, shape, &config.optimizer_config())?);
        let plan_id = device.load(&plan, config.seed)?;
        let schedule = config.schedule();
        let memory = plan.memory();
        Ok(Self {
            config,
            model,
            exports: None,
            step: 0,
            source,
            shape,
            schedule,
            plan,
            plan_id,
            evaluation: None,
            reported: 0,
            memory,
        })
    }

    /// Bytes that the training plan takes on the device.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What a step is for, and its sizes.
    pub fn shape(&self) -> StepShape {
        self.shape
    }

    /// FLOPs of one step, all micro-steps together.
    pub fn step_flops(&self) -> u64 {
        let micro = self.config.grad_accum as u64;
        (0..self.plan.phases.len())
            .map(|s| {
                let repeats = if self.plan.phases[s].name == "micro" { micro } else { 1 };
                repeats * self.plan.cost(s).flops
            })
            .sum()
    }

    /// Continues after `step` steps done earlier, whose tensors the caller has written to the device.
    pub fn resume_at(&mut self, step: u64) {
        self.step = step;
        self.reported = step;
    }

    /// Whether the reports of all steps must be taken before the next one is [submitted](Self::submit): its batch
    /// may be made with the model as it is after them, and whether it is depends on what they measured.
    pub fn waits(&self) -> bool {
        self.source.prepares()
    }

    /// Whether a run can stop before the next step and be continued from there.
    pub fn may_stop(&self) -> bool {
        self.source.is_due(self.step)
    }

    /// Hands the device one step. Its report comes from [`report`](Self::report), perhaps some steps later.
    ///
    /// # Errors
    /// When the device fails, or there are no batches.
    pub fn submit(&mut self, device: &mut dyn Device) -> Result<(), TrainError> {
        if self.source.prepares() && self.source.is_due(self.step) {
            self.source.prepare(device, self.step).map_err(TrainError::Source)?;
        }
        let t = (self.step + 1) as f64;
        let learning_rate = self.schedule.at(self.step);
        let mut step = Step {
            learning_rate: learning_rate as f32,
            correction1: (1.0 - self.config.beta1.powf(t)) as f32,
            correction2: (1.0 - self.config.beta2.powf(t)) as f32,
            ..Step::default()
        };
        let accumulates = self.config.grad_accum > 1;
        if accumulates {
            device.run(self.plan_id, self.plan.phase("begin"), &step)?;
        }
        let phase = self.plan.phase(if accumulates { "micro" } else { "step" });
        for micro in 0..self.config.grad_accum {
            let mut batch = self.batch(Split::Train, Purpose::Training, self.step, micro as u64)?;
            if accumulates {
                batch.weights.iter_mut().for_each(|weight| *weight /= self.config.grad_accum as f32);
            }
            self.set_batch(device, self.plan_id, &batch)?;
            step.seed = self.mask_seed(micro);
            device.run(self.plan_id, phase, &step)?;
        }
        if accumulates {
            device.run(self.plan_id, self.plan.phase("update"), &step)?;
        }
        self.step += 1;
        Ok(())
    }

    /// Trains until `steps` steps are done, and gives their losses.
    pub fn train_to(&mut self, device: &mut dyn Device, steps: u64) -> Result<Vec<f32>, TrainError> {
        let mut losses = Vec::new();
        while self.step < steps {
            self.submit(device)?;
            while let Some(report) = self.report(device, self.step == steps || self.waits())? {
                losses.push(report.loss);
            }
        }
        Ok(losses)
    }

    /// The oldest step not yet reported; `None` when there is none or, without `wait`, it is not done.
    pub fn report(&mut self, device: &mut dyn Device, wait: bool) -> Result<Option<StepReport>, TrainError> {
        if self.reported == self.step {
            return Ok(None);
        }
        let Some(mut results) = device.results(wait)? else { return Ok(None) };
        // Once the first micro-step is there the rest is on its way.
        let mut next = || -> Result<Vec<Vec<f32>>, DeviceError> {
            device.results(true)?.ok_or_else(|| DeviceError::Gpu("a step gave no results".into()))
        };
        let mut loss = results[0][0];
        let mut of_micros = Vec::new();
        let grad_norm = if self.config.grad_accum > 1 {
            of_micros.push(results);
            for _ in 1..self.config.grad_accum {
                let results = next()?;
                loss += results[0][0];
                of_micros.push(results);
            }
            next()?[0][0]
        } else {
            let grad_norm = results.pop().map_or(f32::NAN, |norm| norm[0]);
            of_micros.push(results);
            grad_norm
        };
        let step = self.reported;
        let of_micro = |(micro, results): (usize, &Vec<Vec<f32>>)| -> Result<_, TrainError> {
            let batch = self.batch(Split::Train, Purpose::Training, step, micro as u64)?;
            Ok(self.source.measures(&batch, &results[1..]))
        };
        let measures = match self.shape.objective {
            Objective::Tokens => Vec::new(),
            _ => {
                let each: Vec<_> = of_micros.iter().enumerate().map(of_micro).collect::<Result<_, _>>()?;
                mean(each.into_iter())
            }
        };
        let learning_rate = self.schedule.at(step);
        self.reported += 1;
        Ok(Some(StepReport { step: self.reported, loss, learning_rate, grad_norm, measures }))
    }

    /// The mean loss over fixed random windows of a split, dropout off: nanoGPT's `estimate_loss`. All steps
    /// must have been reported.
    pub fn estimate(&mut self, device: &mut dyn Device, split: Split) -> Result<Estimate, TrainError> {
        // A run of a few steps does not want an estimate many times its length.
        self.estimate_over(device, split, self.config.eval_iters.min(self.config.steps.max(1) as usize))
    }

    /// The current loss over a single batch that the model does not learn from. All steps must have been
    /// reported.
    pub fn probe(&mut self, device: &mut dyn Device) -> Result<f64, TrainError> {
        Ok(self.estimate_over(device, Split::Val, 1)?.loss)
    }

    fn estimate_over(
        &mut self,
        device: &mut dyn Device,
        split: Split,
        iterations: usize,
    ) -> Result<Estimate, TrainError> {
        let plan = match self.evaluation {
            Some(plan) => plan,
            None => {
                let id = device.load(&Arc::new(evaluation(&self.model, self.shape)?), self.config.seed)?;
                self.evaluation = Some(id);
                id
            }
        };
        let mut batches = VecDeque::new();
        let (mut loss, mut measures) = (0.0, Vec::new());
        for i in 0..iterations {
            let batch = self.batch(split, Purpose::Estimating, i as u64, split as u64)?;
            self.set_batch(device, plan, &batch)?;
            device.run(plan, 0, &Step::default())?;
            batches.push_back(batch);
            // The last ones are waited for, the others as long as more than two are under way.
            while let Some(results) = device.results(batches.len() > 2 || i + 1 == iterations)? {
                let Some(batch) = batches.pop_front() else { break };
                loss += f64::from(results[0][0]);
                measures.push(self.source.measures(&batch, &results[1..]));
            }
        }
        Ok(Estimate { loss: loss / iterations as f64, measures: mean(measures.into_iter()) })
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, TrainError> {
        self.source.batch(split, purpose, step, micro).map_err(TrainError::Source)
    }

    /// The tensors that make up the model.
    pub fn parameters(&self) -> Vec<Entry> {
        self.entries(|class| matches!(class, Class::Parameter(kind) if kind.is_exported()))
    }

    /// What is trained with it and is no part of its file: low-rank adapters, `….lora_a` and `….lora_b`, and a value
    /// head.
    pub fn adapters(&self) -> Vec<Entry> {
        self.entries(|class| matches!(class, Class::Parameter(kind) if !kind.is_exported()))
    }

    /// The adapters that are written to a file of their own.
    pub fn exported(&self) -> Vec<Factor> {
        self.exports.map_or(Vec::new(), |modules| factors(&self.model, modules))
    }

    /// How many numbers are trained: where there are low-rank adapters, these and the objective's head.
    pub fn n_trained(&self) -> usize {
        let is_trained = |kind: Parameter| !self.model.lora.is_on() || kind.is_added();
        let trained = self.plan.parameters().filter(|(.., kind)| is_trained(*kind));
        trained.map(|(_, shape, _)| shape.len()).sum()
    }

    /// The other tensors that a continued run needs: the optimiser's moments, what a recurrent net carries from
    /// window to window, and the cost of a policy's divergence.
    pub fn states(&self) -> Vec<Entry> {
        self.entries(|class| class == Class::State(State::Saved))
    }

    /// Reads a tensor back from the device, with its adapter added if it has one.
    pub fn read(
        &self,
        device: &mut dyn Device,
        entry: &Entry,
        adapters: Adapters,
        give: Give,
    ) -> Result<(), TensorError> {
        let parts = self.model.adapters_of(&entry.name);
        let read = if adapters == Adapters::Merged && !parts.is_empty() {
            let merged = || {
                let mut weight = device.read(&entry.name)?;
                let (Lora { rank, scale, .. }, n_in) = (self.model.lora, entry.shape.width());
                for AdapterPart { scope, row, of_b } in parts {
                    let [a, b] = ["lora_a", "lora_b"].map(|factor| device.read(&format!("{scope}.{factor}")));
                    let rows = &mut weight[row * n_in..][..of_b.len() * n_in];
                    merge(rows, &a?, &b?[of_b.start * rank..of_b.end * rank], rank, scale);
                }
                Ok(weight)
            };
            merged().map(|weight| give(&weight))
        } else {
            device.read_parts(&entry.name, give)
        };
        read.map_err(|source| TensorError::Device { name: entry.name.clone(), source })
    }

    fn entries(&self, wanted: fn(Class) -> bool) -> Vec<Entry> {
        let wanted = self.plan.persistent().filter(|(.., class)| wanted(*class));
        wanted.map(|(name, shape, _)| Entry { name: name.to_owned(), shape }).collect()
    }

    /// Where its batches come from.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    fn set_batch(&self, device: &mut dyn Device, plan: PlanId, batch: &Batch) -> Result<(), DeviceError> {
        let mut set = |input: Input, data: HostData| device.set_input(plan, input.name(), data);
        set(Input::Tokens, HostData::U32(&batch.tokens))?;
        if !batch.targets.is_empty() {
            set(Input::Targets, HostData::U32(&batch.targets))?;
        }
        set(Input::Weights, HostData::F32(&batch.weights))?;
        for (input, numbers) in &batch.others {
            set(*input, HostData::F32(numbers))?;
        }
        if let Some(places) = &batch.places {
            set(Input::Places, HostData::U32(places))?;
        }
        if let Some(segments) = &batch.segments {
            let positions = positions(segments, self.model.block_size);
            set(Input::Segments, HostData::U32(segments))?;
            set(Input::Positions, HostData::U32(&positions))?;
        }
        Ok(())
    }

    /// A seed of dropout masks for each micro-step of each step.
    fn mask_seed(&self, micro: usize) -> u32 {
        let count = self.step * self.config.grad_accum as u64 + micro as u64;
        hash(self.config.seed as u32 ^ hash(count as u32))
    }
}
