//! The plans of a run: one training step, and the loss alone.

use std::collections::HashMap;

use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::tape::{Init, Tape};
use crate::engine::tensor::Spec;
use crate::models::config::GptConfig;
use crate::models::gpt::trunk;
use crate::nn::Pass;
use crate::objective::next_token;
use crate::ops::adamw::AdamW;
use crate::optim::adamw;

/// Sizes of a training step.
#[derive(Clone, Copy, Debug)]
pub struct StepShape {
    /// Sequences in one micro-step.
    pub batch_size: usize,
    /// Micro-steps whose gradients are added up before an update.
    pub grad_accum: usize,
}

/// A training step over inputs `tokens` (batch, time), `targets` and `weights` (batch · time).
///
/// With one micro-step it is one segment, `step`, whose results are [loss, grad_norm]. With more, segment
/// `begin` zeroes the gradients, `micro` is run for each micro-step and gives its loss, and `update` gives the
/// grad_norm.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn training(config: &GptConfig, shape: StepShape, rule: AdamW) -> Result<Plan, OpError> {
    let accumulates = shape.grad_accum > 1;
    let mut tape = Tape::new(if accumulates { "begin" } else { "step" });
    let (batch, time) = (shape.batch_size, config.block_size);
    let tokens = tape.input("tokens", Spec::u32([batch, time]));
    let targets = tape.input("targets", Spec::u32([batch * time]));
    let weights = tape.input("weights", Spec::f32([batch * time]));
    if accumulates {
        tape.begin_segment("micro");
    }
    let trunk = trunk(&mut tape, config, tokens, Pass::Train)?;
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
    let loss = next_token::loss(&mut tape, &trunk, targets, weights, true, &into)?;
    let gradients = tape.backward(&loss.seeds, &into)?;
    if accumulates {
        tape.begin_segment("update");
    }
    let pairs: Vec<_> = parameters.iter().filter_map(|p| Some((*p, *gradients.get(p)?))).collect();
    let grad_norm = adamw::update(&mut tape, rule, &pairs)?;
    Plan::new(&tape, &[loss.total, grad_norm])
}

/// The loss alone, dropout off: inputs as [`training`]'s, segment `loss`, whose only result is the loss.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn evaluation(config: &GptConfig, batch_size: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("loss");
    let rows = batch_size * config.block_size;
    let tokens = tape.input("tokens", Spec::u32([batch_size, config.block_size]));
    let targets = tape.input("targets", Spec::u32([rows]));
    let weights = tape.input("weights", Spec::f32([rows]));
    let trunk = trunk(&mut tape, config, tokens, Pass::Evaluate)?;
    let loss = next_token::loss(&mut tape, &trunk, targets, weights, false, &HashMap::new())?;
    Plan::new(&tape, &[loss.total])
}
