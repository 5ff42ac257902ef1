//! The linear layer y = x Wᵀ + b.

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::matmul::Matmul;

/// What the linear layers of a model have in common.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub bias: bool,
    /// Standard deviation of the first weights.
    pub std: f32,
}

impl Linear {
    /// The same with first weights of another standard deviation.
    pub fn with_std(self, std: f32) -> Self {
        Self { std, ..self }
    }

    /// x (…, n_in) → (…, n_out). Declares `weight` (n_out, n_in), normal, and `bias` (n_out), zero.
    pub fn record(self, tape: &mut Tape, x: Var, n_out: usize) -> Result<Var, OpError> {
        let n_in = tape.spec(x).shape.width();
        let weight = tape.parameter("weight", [n_out, n_in], Init::Normal(self.std), Parameter::Hidden);
        let mut operands = vec![x, weight];
        if self.bias {
            operands.push(tape.parameter("bias", [n_out], Init::Constant(0.0), Parameter::Outer));
        }
        tape.apply_one(Matmul { bias: self.bias, ..Matmul::LINEAR }, &operands)
    }
}
