//! A model in training on a device: steps, loss estimates, and the tensors a checkpoint holds.

use std::sync::Arc;

use super::plans::{StepShape, evaluation, training};
use super::source::{Batch, Source};
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::hash::hash;
use crate::engine::op::OpError;
use crate::engine::plan::{Home, Memory, Place, Plan};
use crate::engine::step::Step;
use crate::models::config::ModelConfig;
use crate::optim::schedule::Schedule;
use crate::run::config::TrainConfig;
use crate::run::tensor_file::Entry;
use crate::text::dataset::{Purpose, Split};
use crate::text::pack::positions;

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The mean cross-entropy of the batch, in nats per token.
    pub loss: f32,
    pub learning_rate: f64,
    /// The global norm of the gradients before clipping.
    pub grad_norm: f32,
}

/// A model in training.
pub struct Trainer {
    pub config: TrainConfig,
    pub model: ModelConfig,
    /// Steps handed to the device.
    pub step: u64,
    source: Box<dyn Source>,
    shape: StepShape,
    schedule: Schedule,
    plan: Arc<Plan>,
    plan_id: PlanId,
    evaluation: Option<PlanId>,
    /// Steps whose results are still to come, oldest first.
    reported: u64,
    memory: Memory,
}

impl Trainer {
    /// Prepares training on `device` from fresh weights.
    ///
    /// # Errors
    /// When the sizes do not fit together or the device lacks memory or a limit.
    pub fn new(
        device: &mut dyn Device,
        config: TrainConfig,
        model: ModelConfig,
        source: Box<dyn Source>,
    ) -> Result<Self, TrainError> {
        let shape = StepShape {
            batch_size: config.batch_size,
            grad_accum: config.grad_accum,
            segments: source.has_segments(),
        };
        let plan = Arc::new(training(&model, shape, &config.rule())?);
        let plan_id = device.load(&plan, config.seed)?;
        let schedule = config.schedule();
        let memory = plan.memory();
        Ok(Self {
            config,
            model,
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

    /// FLOPs of one step, all micro-steps together.
    pub fn step_flops(&self) -> u64 {
        let micro = self.config.grad_accum as u64;
        (0..self.plan.segments.len())
            .map(|s| {
                let repeats = if self.plan.segments[s].name == "micro" { micro } else { 1 };
                repeats * self.plan.cost(s).flops
            })
            .sum()
    }

    /// Tokens that one step learns from.
    pub fn tokens_per_step(&self) -> usize {
        self.config.batch_size * self.config.grad_accum * self.model.block_size
    }

    /// Continues behind `step` steps done earlier, whose tensors the caller has written to the device.
    pub fn resume_at(&mut self, step: u64) {
        self.step = step;
        self.reported = step;
    }

    /// Hands the device one step. Its report comes from [`report`](Self::report), perhaps some steps later.
    ///
    /// # Errors
    /// When the device fails.
    pub fn submit(&mut self, device: &mut dyn Device) -> Result<(), TrainError> {
        let t = (self.step + 1) as f64;
        let learning_rate = self.schedule.rate(self.step);
        let mut step = Step {
            learning_rate: learning_rate as f32,
            correction1: (1.0 - self.config.beta1.powf(t)) as f32,
            correction2: (1.0 - self.config.beta2.powf(t)) as f32,
            ..Step::default()
        };
        let accumulates = self.config.grad_accum > 1;
        if accumulates {
            device.run(self.plan_id, self.plan.segment("begin"), &step)?;
        }
        let segment = self.plan.segment(if accumulates { "micro" } else { "step" });
        for micro in 0..self.config.grad_accum {
            let mut batch = self.source.batch(Split::Train, Purpose::Training, self.step, micro as u64);
            if accumulates {
                batch.weights.iter_mut().for_each(|weight| *weight /= self.config.grad_accum as f32);
            }
            self.set_batch(device, self.plan_id, &batch)?;
            step.seed = self.mask_seed(micro);
            device.run(self.plan_id, segment, &step)?;
        }
        if accumulates {
            device.run(self.plan_id, self.plan.segment("update"), &step)?;
        }
        self.step += 1;
        Ok(())
    }

    /// Trains until `steps` steps are done, and gives their losses.
    ///
    /// # Errors
    /// When the device fails.
    pub fn train_to(&mut self, device: &mut dyn Device, steps: u64) -> Result<Vec<f32>, TrainError> {
        let mut losses = Vec::new();
        while self.step < steps {
            self.submit(device)?;
            while let Some(report) = self.report(device, self.step == steps)? {
                losses.push(report.loss);
            }
        }
        Ok(losses)
    }

    /// The oldest step not yet reported; `None` when there is none or, without `wait`, it is not done.
    ///
    /// # Errors
    /// When the device fails.
    pub fn report(&mut self, device: &mut dyn Device, wait: bool) -> Result<Option<StepReport>, TrainError> {
        if self.reported == self.step {
            return Ok(None);
        }
        let mut loss = 0.0;
        let Some(mut results) = device.results(wait)? else { return Ok(None) };
        // Once the first micro-step is there the rest is on its way.
        let mut next = || -> Result<Vec<Vec<f32>>, DeviceError> {
            device.results(true)?.ok_or_else(|| DeviceError::Gpu("a step gave no results".into()))
        };
        let grad_norm = if self.config.grad_accum > 1 {
            loss += results[0][0];
            for _ in 1..self.config.grad_accum {
                loss += next()?[0][0];
            }
            next()?[0][0]
        } else {
            loss += results[0][0];
            results.swap_remove(1)[0]
        };
        let learning_rate = self.schedule.rate(self.reported);
        self.reported += 1;
        Ok(Some(StepReport { step: self.reported, loss, learning_rate, grad_norm }))
    }

    /// The mean loss over fixed random windows of a split, dropout off: nanoGPT's `estimate_loss`. All steps
    /// must have been reported.
    ///
    /// # Errors
    /// When the device fails.
    pub fn estimate(&mut self, device: &mut dyn Device, split: Split) -> Result<f64, TrainError> {
        let plan = match self.evaluation {
            Some(plan) => plan,
            None => {
                let id = device.load(&Arc::new(evaluation(&self.model, self.shape)?), self.config.seed)?;
                self.evaluation = Some(id);
                id
            }
        };
        // A run of a few steps does not want an estimate many times its length.
        let iterations = self.config.eval_iters.min(self.config.steps.max(1) as usize);
        let mut total = 0.0;
        let mut outstanding = 0;
        for i in 0..iterations {
            let batch = self.source.batch(split, Purpose::Estimating, i as u64, split as u64);
            self.set_batch(device, plan, &batch)?;
            device.run(plan, 0, &Step::default())?;
            outstanding += 1;
            while let Some(results) = device.results(outstanding > 2)? {
                total += f64::from(results[0][0]);
                outstanding -= 1;
            }
        }
        while outstanding > 0 {
            if let Some(results) = device.results(true)? {
                total += f64::from(results[0][0]);
            }
            outstanding -= 1;
        }
        Ok(total / iterations as f64)
    }

    /// The tensors that make up the model.
    pub fn parameters(&self) -> Vec<Entry> {
        self.entries(|name, parameter| parameter && !is_adapter(name))
    }

    /// Its low-rank adapters, `….lora_a` and `….lora_b`.
    pub fn adapters(&self) -> Vec<Entry> {
        self.entries(|name, parameter| parameter && is_adapter(name))
    }

    /// The other tensors that a continued run needs: the optimiser's moments, and what a recurrent net carries
    /// from window to window.
    pub fn states(&self) -> Vec<Entry> {
        const MOMENTS: [&str; 4] = ["adamw.m.", "adamw.v.", "muon.m.", "sgd.v."];
        self.entries(|name, _| MOMENTS.iter().any(|kind| name.starts_with(kind)) || name.ends_with(".train"))
    }

    fn entries(&self, wanted: fn(&str, bool) -> bool) -> Vec<Entry> {
        let entry = |place: &Place| match &place.home {
            Home::Persistent { name, parameter, .. } if wanted(name, *parameter) => {
                Some(Entry { name: name.clone(), shape: place.spec.shape })
            }
            _ => None,
        };
        self.plan.places.iter().filter_map(entry).collect()
    }

    /// Where its batches come from.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    fn set_batch(&self, device: &mut dyn Device, plan: PlanId, batch: &Batch) -> Result<(), DeviceError> {
        device.set_input(plan, "tokens", HostData::U32(&batch.tokens))?;
        device.set_input(plan, "targets", HostData::U32(&batch.targets))?;
        device.set_input(plan, "weights", HostData::F32(&batch.weights))?;
        if let Some(segments) = &batch.segments {
            let positions = positions(segments, self.model.block_size);
            device.set_input(plan, "segments", HostData::U32(segments))?;
            device.set_input(plan, "positions", HostData::U32(&positions))?;
        }
        Ok(())
    }

    /// A seed of dropout masks for each micro-step of each step.
    fn mask_seed(&self, micro: usize) -> u32 {
        let count = self.step * self.config.grad_accum as u64 + micro as u64;
        hash(self.config.seed as u32 ^ hash(count as u32))
    }
}

fn is_adapter(name: &str) -> bool {
    name.ends_with(".lora_a") || name.ends_with(".lora_b")
}
