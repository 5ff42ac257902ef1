//! What every loss is: its sum on the tape, where its gradients start, and the sizes of its batch.

use crate::engine::op::Var;
use crate::engine::tape::{Init, State, Tape};

/// A loss on the tape.
pub struct Loss {
    /// Σ weight · loss, (1).
    pub total: Var,
    /// Gradients to start the backward pass from; empty without `gradient`.
    pub seeds: Vec<(Var, Var)>,
    /// What else is read back after a run, as each objective says.
    pub outputs: Vec<Var>,
}

/// Sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// Rows of tokens.
    pub sequences: usize,
    /// Predictions; for most models one for each token.
    pub predictions: usize,
}

/// `n` times the same number.
pub(super) fn constant(tape: &mut Tape, n: usize, value: f32) -> Var {
    tape.state(&format!("constant.{value}.{n}"), [n], Init::Constant(value), State::Transient)
}
