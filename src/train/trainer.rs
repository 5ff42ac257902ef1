//! A model in training on a device: steps, loss estimates, and the tensors a checkpoint holds.

use std::sync::Arc;

use super::plans::{StepShape, evaluation, training};
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::hash::hash;
use crate::engine::op::OpError;
use crate::engine::plan::{Home, Memory, Place, Plan};
use crate::engine::step::Step;
use crate::models::config::GptConfig;
use crate::ops::adamw::AdamW;
use crate::optim::schedule::Cosine;
use crate::run::config::TrainConfig;
use crate::run::tensor_file::Entry;
use crate::text::dataset::{Batch, Dataset, Purpose, Split, batch_rng};

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
    pub model: GptConfig,
    /// Steps handed to the device.
    pub step: u64,
    dataset: Dataset,
    schedule: Cosine,
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
        model: GptConfig,
        dataset: Dataset,
    ) -> Result<Self, TrainError> {
        let shape = StepShape { batch_size: config.batch_size, grad_accum: config.grad_accum };
        let rule = AdamW {
            beta1: config.beta1 as f32,
            beta2: config.beta2 as f32,
            eps: 1e-8,
            weight_decay: config.weight_decay as f32,
            clip: config.grad_clip as f32,
        };
        let plan = Arc::new(training(&model, shape, rule)?);
        let plan_id = device.load(&plan, config.seed)?;
        let rows = config.batch_size * model.block_size;
        let weight = 1.0 / (rows * config.grad_accum) as f32;
        device.set_input(plan_id, "weights", HostData::F32(&vec![weight; rows]))?;
        let schedule = Cosine {
            highest: config.learning_rate,
            lowest: config.min_learning_rate,
            warmup_steps: config.warmup_steps,
            steps: config.steps,
        };
        let memory = plan.memory();
        Ok(Self {
            config,
            model,
            step: 0,
            dataset,
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
            let batch = self.batch(Split::Train, Purpose::Training, self.step, micro as u64);
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
                let plan = evaluation(&self.model, self.config.batch_size)?;
                let id = device.load(&Arc::new(plan), self.config.seed)?;
                let rows = self.config.batch_size * self.model.block_size;
                device.set_input(id, "weights", HostData::F32(&vec![1.0 / rows as f32; rows]))?;
                self.evaluation = Some(id);
                id
            }
        };
        // A run of a few steps does not want an estimate many times its length.
        let iterations = self.config.eval_iters.min(self.config.steps.max(1) as usize);
        let mut total = 0.0;
        let mut outstanding = 0;
        for i in 0..iterations {
            let batch = self.batch(split, Purpose::Estimating, i as u64, split as u64);
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
        self.entries(|_, parameter| parameter)
    }

    /// The other tensors that a continued run needs: the optimiser's moments.
    pub fn states(&self) -> Vec<Entry> {
        self.entries(|name, _| name.starts_with("adamw.m.") || name.starts_with("adamw.v."))
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

    /// The text that is learned from.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Batch {
        let mut rng = batch_rng(self.config.seed, purpose, step, micro);
        self.dataset.batch(split, &mut rng, self.config.batch_size, self.model.block_size)
    }

    fn set_batch(&self, device: &mut dyn Device, plan: PlanId, batch: &Batch) -> Result<(), DeviceError> {
        device.set_input(plan, "tokens", HostData::U32(&batch.tokens))?;
        device.set_input(plan, "targets", HostData::U32(&batch.targets))
    }

    /// A seed of dropout masks for each micro-step of each step.
    fn mask_seed(&self, micro: usize) -> u32 {
        let count = self.step * self.config.grad_accum as u64 + micro as u64;
        hash(self.config.seed as u32 ^ hash(count as u32))
    }
}
