//! A head that gives one number for each row: a reward, or a value.

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::matmul::Matmul;
use crate::ops::reshape::Reshape;

/// hidden · weight + bias.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// (1, n_embd)
    weight: Var,
    /// (1)
    bias: Option<Var>,
}

impl Score {
    /// Declares `score.weight`, as Hugging Face's sequence classifiers call it.
    pub fn reward(tape: &mut Tape, n_embd: usize) -> Self {
        let init = Init::Normal(1.0 / (n_embd as f32).sqrt());
        tape.scoped("score", |tape| Self {
            weight: tape.parameter("weight", [1, n_embd], init, Parameter::Head),
            bias: None,
        })
    }

    /// Declares `value_head.weight` and `value_head.bias`, initially zeros.
    pub fn value(tape: &mut Tape, n_embd: usize) -> Self {
        let zero = Init::Constant(0.0);
        tape.scoped("value_head", |tape| Self {
            weight: tape.parameter("weight", [1, n_embd], zero, Parameter::TrainingHead),
            bias: Some(tape.parameter("bias", [1], zero, Parameter::TrainingHead)),
        })
    }

    /// hidden (…, n_embd) → (rows)
    pub fn record(&self, tape: &mut Tape, hidden: Var) -> Result<Var, OpError> {
        let rows = tape.spec(hidden).shape.rows();
        let operands: Vec<_> = [hidden, self.weight].into_iter().chain(self.bias).collect();
        let product = Matmul { bias: self.bias.is_some(), ..Matmul::LINEAR };
        let scores = tape.apply_one(product, &operands)?;
        tape.apply_one(Reshape([rows].into()), &[scores])
    }
}
