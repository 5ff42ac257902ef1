//! The plans of a run: one training step, and the loss alone.

use std::collections::HashMap;

use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::tape::{Init, Tape};
use crate::engine::tensor::Spec;
use crate::models::config::{Architecture, ModelConfig};
use crate::models::{Reading, trunk};
use crate::nn::Pass;
use crate::nn::recurrent::carry;
use crate::objective::{BatchShape, Objective};
use crate::optim::Rule;

/// What a training step is for, and its sizes.
#[derive(Clone, Copy, Debug)]
pub struct StepShape {
    pub objective: Objective,
    /// Sequences in one micro-step, or pairs of them.
    pub batch_size: usize,
    /// Tokens of a sequence, at most a block.
    pub time: usize,
    /// Micro-steps whose gradients are added up before an update.
    pub grad_accum: usize,
    /// Whether tokens see only those of their own segment.
    pub segments: bool,
}

impl StepShape {
    /// What a model of this kind is pretrained for, on whole blocks.
    pub fn pretraining(config: &ModelConfig, batch_size: usize, grad_accum: usize) -> Self {
        let time = config.block_size;
        let objective = match config.architecture {
            Architecture::Skipgram => Objective::Neighbours,
            _ => Objective::Tokens,
        };
        Self { objective, batch_size, time, grad_accum, segments: false }
    }

    /// Rows of tokens in a micro-step.
    pub fn sequences(&self) -> usize {
        self.objective.sequences(self.batch_size)
    }

    fn batch(&self, config: &ModelConfig) -> BatchShape {
        let sequences = self.sequences();
        BatchShape { sequences, predictions: config.n_predictions(sequences, self.time) }
    }

    /// Declares `tokens` and perhaps `segments`, in the shape that the model reads.
    fn reading(&self, tape: &mut Tape, config: &ModelConfig) -> Reading {
        let tokens = Spec::u32(config.tokens_shape(self.sequences(), self.time));
        Reading {
            tokens: tape.input("tokens", tokens),
            segments: self.segments.then(|| tape.input("segments", tokens)),
        }
    }
}

/// A training step over inputs `tokens`, perhaps `segments`, and those of the objective.
///
/// With one micro-step it is one segment, `step`, whose results are [loss, the objective's outputs, grad_norm]. With
/// more, segment `begin` zeroes the gradients, `micro` is run for each micro-step and gives its loss and outputs,
/// and `update` gives the grad_norm. With adapters, nothing but these and the objective's head is trained.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn training(config: &ModelConfig, shape: StepShape, rule: &Rule) -> Result<Plan, OpError> {
    let accumulates = shape.grad_accum > 1;
    let mut tape = Tape::new(if accumulates { "begin" } else { "step" });
    if config.lora_rank > 0 {
        tape.freeze();
    }
    let read = shape.reading(&mut tape, config);
    if accumulates {
        tape.begin_segment("micro");
    }
    let trunk = trunk(&mut tape, config, read, Pass::Train)?;
    let head = shape.objective.head(&mut tape, config.n_embd);
    let parameters = tape.parameters();
    let mut into = HashMap::new();
    if accumulates {
        for &parameter in &parameters {
            let shape = tape.shape(parameter);
            let name = format!("gradient.{}", tape.name(parameter));
            let gradient = tape.state(&name, shape, Init::Constant(0.0));
            tape.clear_at_start(gradient);
            into.insert(parameter, gradient);
        }
    }
    let batch = shape.batch(config);
    let loss = shape.objective.record(&mut tape, &trunk, head.as_ref(), batch, true, &into)?;
    let gradients = tape.backward(&loss.seeds, &into)?;
    carry(&mut tape, &trunk.carried)?;
    if accumulates {
        tape.begin_segment("update");
    }
    let pairs: Vec<_> = parameters.iter().filter_map(|p| Some((*p, *gradients.get(p)?))).collect();
    let grad_norm = rule.record(&mut tape, &pairs)?;
    let results: Vec<_> = [loss.total].into_iter().chain(loss.outputs).chain([grad_norm]).collect();
    Plan::new(&tape, &results)
}

/// The loss alone, dropout off: inputs as [`training`]'s, segment `loss`, whose results are the loss and the
/// objective's outputs.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn evaluation(config: &ModelConfig, shape: StepShape) -> Result<Plan, OpError> {
    let mut tape = Tape::new("loss");
    let read = shape.reading(&mut tape, config);
    let trunk = trunk(&mut tape, config, read, Pass::Evaluate)?;
    let head = shape.objective.head(&mut tape, config.n_embd);
    let batch = shape.batch(config);
    let loss = shape.objective.record(&mut tape, &trunk, head.as_ref(), batch, false, &HashMap::new())?;
    let results: Vec<_> = [loss.total].into_iter().chain(loss.outputs).collect();
    Plan::new(&tape, &results)
}
