//! The plans of a run: one training step, and the loss alone.

use std::collections::HashMap;

use crate::engine::op::{OpError, Var};
use crate::engine::plan::Plan;
use crate::engine::tape::{Init, Tape};
use crate::engine::tensor::{Shape, Spec};
use crate::models::config::{Architecture, ModelConfig};
use crate::models::skipgram::CANDIDATES;
use crate::models::{Reading, Trunk, trunk};
use crate::nn::Pass;
use crate::nn::recurrent::carry;
use crate::objective::tokens::Loss;
use crate::objective::{neighbours, tokens};
use crate::optim::Rule;

/// Sizes of a training step.
#[derive(Clone, Copy, Debug)]
pub struct StepShape {
    /// Sequences in one micro-step.
    pub batch_size: usize,
    /// Micro-steps whose gradients are added up before an update.
    pub grad_accum: usize,
    /// Whether tokens see only those of their own segment.
    pub segments: bool,
}

/// What a batch is given as.
struct Inputs {
    read: Reading,
    targets: Var,
    /// Whether each target is right, where there are wrong ones among them.
    labels: Option<Var>,
    weights: Var,
}

/// Declares `tokens` and perhaps `segments`, in the shape that the model reads, and `targets`, `weights` and perhaps
/// `labels`, one for each prediction.
fn inputs(tape: &mut Tape, config: &ModelConfig, shape: StepShape) -> Inputs {
    let tokens = Spec::u32(config.tokens_shape(shape.batch_size, config.block_size));
    let n = config.n_predictions(shape.batch_size);
    let is_told_apart = config.architecture == Architecture::Skipgram;
    let (targets, predictions): (Shape, Shape) = match is_told_apart {
        true => ([shape.batch_size, CANDIDATES].into(), [shape.batch_size, 1, CANDIDATES].into()),
        false => ([n].into(), [n].into()),
    };
    Inputs {
        read: Reading {
            tokens: tape.input("tokens", tokens),
            segments: shape.segments.then(|| tape.input("segments", tokens)),
        },
        targets: tape.input("targets", Spec::u32(targets)),
        labels: is_told_apart.then(|| tape.input("labels", Spec::f32(predictions))),
        weights: tape.input("weights", Spec::f32(predictions)),
    }
}

impl Inputs {
    /// Records the loss behind `trunk`, and with `gradient` what its backward pass starts from.
    fn loss(
        &self,
        tape: &mut Tape,
        trunk: &Trunk,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        match self.labels {
            Some(labels) => neighbours::loss(tape, trunk, self.targets, [labels, self.weights], gradient),
            None => tokens::loss(tape, trunk, self.targets, self.weights, gradient, into),
        }
    }
}

/// A training step over inputs `tokens`, `targets`, `weights` and perhaps `segments` and `labels`.
///
/// With one micro-step it is one segment, `step`, whose results are [loss, grad_norm]. With more, segment
/// `begin` zeroes the gradients, `micro` is run for each micro-step and gives its loss, and `update` gives the
/// grad_norm. With adapters, nothing but these is trained.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn training(config: &ModelConfig, shape: StepShape, rule: &Rule) -> Result<Plan, OpError> {
    let accumulates = shape.grad_accum > 1;
    let mut tape = Tape::new(if accumulates { "begin" } else { "step" });
    if config.lora_rank > 0 {
        tape.freeze();
    }
    let inputs = inputs(&mut tape, config, shape);
    if accumulates {
        tape.begin_segment("micro");
    }
    let trunk = trunk(&mut tape, config, inputs.read, Pass::Train)?;
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
    let loss = inputs.loss(&mut tape, &trunk, true, &into)?;
    let gradients = tape.backward(&loss.seeds, &into)?;
    carry(&mut tape, &trunk.carried)?;
    if accumulates {
        tape.begin_segment("update");
    }
    let pairs: Vec<_> = parameters.iter().filter_map(|p| Some((*p, *gradients.get(p)?))).collect();
    let grad_norm = rule.record(&mut tape, &pairs)?;
    Plan::new(&tape, &[loss.total, grad_norm])
}

/// The loss alone, dropout off: inputs as [`training`]'s, segment `loss`, whose only result is the loss.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn evaluation(config: &ModelConfig, shape: StepShape) -> Result<Plan, OpError> {
    let mut tape = Tape::new("loss");
    let inputs = inputs(&mut tape, config, shape);
    let trunk = trunk(&mut tape, config, inputs.read, Pass::Evaluate)?;
    let loss = inputs.loss(&mut tape, &trunk, false, &HashMap::new())?;
    Plan::new(&tape, &[loss.total])
}
