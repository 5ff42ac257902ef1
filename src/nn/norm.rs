//! The norms of a residual stream, alone and fused with the addition of a branch.

use serde::{Deserialize, Serialize};

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::combine::Combine;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::residual_norm::ResidualNorm;
use crate::ops::rms_norm::RmsNorm;

/// How the residual stream is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    None,
    /// Ba et al. 2016.
    Layer,
    /// Zhang & Sennrich 2019.
    Rms,
}

/// What the norms of a model have in common.
#[derive(Clone, Copy, Debug)]
pub struct Norms {
    pub kind: Norm,
    /// Whether a layer norm adds one; an RMS norm never does.
    pub bias: bool,
    /// Added to the variance, or to the mean of squares.
    pub eps: f32,
}

impl Norms {
    /// `weight` (n), one, and for a layer norm `bias` (n), zero.
    fn parameters(self, tape: &mut Tape, n: usize) -> Vec<Var> {
        let mut parameters = vec![tape.parameter("weight", [n], Init::Constant(1.0), Parameter::Outer)];
        if self.bias && self.kind == Norm::Layer {
            parameters.push(tape.parameter("bias", [n], Init::Constant(0.0), Parameter::Outer));
        }
        parameters
    }

    /// x (…, n) → its norm.
    pub fn record(self, tape: &mut Tape, x: Var) -> Result<Var, OpError> {
        if self.kind == Norm::None {
            return Ok(x);
        }
        let mut operands = vec![x];
        operands.extend(self.parameters(tape, tape.spec(x).shape.width()));
        Ok(match self.kind {
            Norm::Rms => tape.apply(RmsNorm { eps: self.eps }, &operands)?[0],
            _ => tape.apply(LayerNorm { eps: self.eps }, &operands)?[0],
        })
    }

    /// As [`residual`](Self::residual) without a norm: the sum is both.
    pub fn sum(tape: &mut Tape, x: Var, branch: Var) -> Result<(Var, Var), OpError> {
        let sum = tape.apply_one(Combine::SUM, &[x, branch])?;
        Ok((sum, sum))
    }

    /// (x, branch) → the residual stream after them, and what the next half of a block reads. With `pre` the
    /// stream is the sum and its norm is read; without, the norm is both.
    pub fn residual(self, tape: &mut Tape, x: Var, branch: Var, pre: bool) -> Result<(Var, Var), OpError> {
        let (sum, norm) = if self.kind == Norm::Layer {
            let mut operands = vec![x, branch];
            operands.extend(self.parameters(tape, tape.spec(x).shape.width()));
            let outputs = tape.apply(ResidualNorm { eps: self.eps }, &operands)?;
            (outputs[0], outputs[1])
        } else {
            // Not in place: the derivative of what read x reads it again.
            let sum = tape.apply_one(Combine::SUM, &[x, branch])?;
            (sum, self.record(tape, sum)?)
        };
        Ok(if pre { (sum, norm) } else { (norm, norm) })
    }
}
