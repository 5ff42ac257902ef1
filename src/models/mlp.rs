//! The neural language model of Bengio et al. 2003: the embeddings of a fixed window, side by side, through one
//! hidden layer.

use super::Backbone;
use super::config::ModelConfig;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::nn::Pass;
use crate::nn::embedding::{embed, table};
use crate::nn::linear::Linear;
use crate::nn::mlp::dropout;
use crate::ops::activation::{Activation, ActivationFunction};
use crate::ops::reshape::Reshape;

/// tokens (batch, block_size) → hidden (batch, n_embd): one prediction for each window.
pub fn backbone(tape: &mut Tape, config: &ModelConfig, tokens: Var, pass: Pass) -> Result<Backbone, OpError> {
    tape.scoped("mlp", |tape| {
        let (window, n) = (tape.shape(tokens), config.n_embd);
        if window.width() != config.block_size {
            let message = format!("reads windows of {} tokens, not {}", config.block_size, window.width());
            return Err(OpError::new(message));
        }
        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, n));
        let embedded = embed(tape, tokens, wte, None)?;
        let side_by_side = Reshape([window.rows(), window.width() * n].into());
        let x = tape.apply_one(side_by_side, &[embedded])?;
        // Widths differ, so each layer starts at its own scale (LeCun et al. 1998).
        let linear = |n_in: usize| Linear { bias: true, std: 1.0 / (n_in as f32).sqrt() };
        let hidden = tape.scoped("c_fc", |t| linear(window.width() * n).record(t, x, config.n_inner))?;
        let active = tape.apply_one(Activation(ActivationFunction::Tanh), &[hidden])?;
        let active = dropout(tape, active, config.dropout as f32, pass)?;
        let hidden = tape.scoped("c_proj", |t| linear(config.n_inner).record(t, active, n))?;
        Ok(Backbone { hidden, head: Some(wte), carried: Vec::new() })
    })
}
