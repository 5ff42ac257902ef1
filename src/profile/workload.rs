//! What is profiled: one training step, or one token decoded, with the plan that does it.

use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::OpError;
use crate::engine::plan::{Plan, PlanNode, Storage};
use crate::engine::step::Step;
use crate::engine::tensor::Dtype;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::sample::generator::{decode_plan, decode_width};
use crate::train::plans::{StepShape, training};

/// A phase of the plan and how often one step runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub phase: usize,
    pub times: usize,
}

/// Work that can be done over and over.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `training step of 12 × 64 tokens`.
    pub title: String,
    pub plan: Arc<Plan>,
    pub parts: Vec<Part>,
    pub step: Step,
    /// Tokens are drawn below this.
    vocab_size: usize,
}

impl Workload {
    /// A step of pretraining `model` as `config` says.
    pub fn pretraining(config: &TrainConfig, model: &ModelConfig) -> Result<Self, OpError> {
        let shape = StepShape::pretraining(model, config.batch_size, config.grad_accum);
        Self::training("training", config, model, shape)
    }

    /// A step of training `model` for the objective of `shape`, all micro-steps and the update. `name` is what titles
    /// call it.
    pub fn training(
        name: &str,
        config: &TrainConfig,
        model: &ModelConfig,
        shape: StepShape,
    ) -> Result<Self, OpError> {
        let plan = training(model, shape, &config.optimizer_config())?;
        let times = |name: &str| if name == "micro" { config.grad_accum } else { 1 };
        let part = |(phase, name)| Part { phase, times: times(name) };
        let parts = plan.phases.iter().map(|s| s.name.as_str()).enumerate().map(part).collect();
        let tokens = model.tokens_shape(shape.sequences(), shape.time).iter().product::<usize>();
        let time = tokens / shape.sequences();
        let micro = if config.grad_accum > 1 { format!("{} × ", config.grad_accum) } else { String::new() };
        Ok(Self {
            title: format!("{name} step of {micro}{} × {time} tokens", shape.sequences()),
            plan: Arc::new(plan),
            parts,
            step: Step {
                seed: config.seed as u32,
                learning_rate: config.learning_rate as f32,
                correction1: (1.0 - config.beta1) as f32,
                correction2: (1.0 - config.beta2) as f32,
                ..Step::default()
            },
            vocab_size: model.vocab_size,
        })
    }

    /// One token decoded after half a block of others.
    pub fn decoding(model: &ModelConfig) -> Result<Self, OpError> {
        let position = model.block_size / 2;
        Ok(Self {
            title: format!("one token decoded at position {position}"),
            plan: Arc::new(decode_plan(model, decode_width(model))?),
            parts: vec![Part { phase: 0, times: 1 }],
            step: Step { position: position as u32, ..Step::default() },
            vocab_size: model.vocab_size,
        })
    }

    /// Loads the plan with fresh weights and fills its inputs: times do not depend on what the numbers are.
    pub fn load(&self, device: &mut dyn Device) -> Result<PlanId, DeviceError> {
        let id = device.load(&self.plan, 0)?;
        for tensor in &self.plan.tensors {
            let Storage::Input(name) = &tensor.storage else { continue };
            let len = tensor.spec.shape.len();
            match tensor.spec.dtype {
                Dtype::F32 => device.set_input(id, name, HostData::F32(&vec![1.0 / len as f32; len]))?,
                Dtype::U32 => {
                    let indices = match name.as_str() {
                        // A window of one example.
                        "segments" => vec![0; len],
                        "positions" => (0..len).map(|i| (i % tensor.spec.shape.width()) as u32).collect(),
                        // Never more of them than rows.
                        "places" => (0..len as u32).collect(),
                        _ => scattered(len, self.vocab_size),
                    };
                    device.set_input(id, name, HostData::U32(&indices))?;
                }
            }
        }
        Ok(id)
    }
}

/// The distinct extents of a node's operands, in the order of its contract.
pub fn shape(node: &PlanNode) -> String {
    let mut shapes: Vec<String> = Vec::new();
    for spec in node.in_specs.iter().chain(&node.out_specs) {
        let dims: Vec<_> = spec.shape.dims().iter().map(usize::to_string).collect();
        let shape = dims.join("×");
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes.join(" ")
}

/// Distinct words of TinyShakespeare, punctuation and blanks among them.
const WORDS: usize = 13_333;

/// Indices below `bound`, near ones far apart: strides of a prime that is longer than any cache line.
pub fn scattered(len: usize, bound: usize) -> Vec<u32> {
    (0..len).map(|i| (i * 7919 % bound.max(1)) as u32).collect()
}

/// The number of tokens of a tokenizer by name, as far as it is known without a text: characters and words are
/// taken to be as many as in TinyShakespeare.
pub fn vocab_size(tokenizer: &str) -> Option<usize> {
    match tokenizer {
        "char" => Some(65),
        "byte" => Some(256),
        "word" => Some(WORDS),
        "gpt2" => Some(50_257),
        other => other.strip_prefix("bpe:")?.parse().ok(),
    }
}
