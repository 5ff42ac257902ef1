//! The feed-forward half of a Transformer block, and dropout.

use serde::{Deserialize, Serialize};

use super::Pass;
use super::linear::Linear;
use super::lora::{Lora, Site};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::ops::activation::{Activation, ActivationFunction};
use crate::ops::dropout::Dropout;
use crate::ops::gated::Gated;
use crate::ops::gelu::{Gelu, GeluApproximation};
use crate::ops::multiply::Multiply;

/// The non-linear function between the two matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// None: two matrices in a row, no more than one of them could do.
    Linear,
    /// The exact Gaussian error linear unit, as in nanoGPT.
    Gelu,
    /// Its approximation by tanh, as in GPT-2.
    GeluTanh,
    Relu,
    /// The square of a ReLU (So et al. 2021).
    Relu2,
    /// A gate, as in Llama (Shazeer 2020).
    Swiglu,
    /// A gate of GELU in its tanh form, as in Gemma (Shazeer 2020).
    Geglu,
}

impl FeedForward {
    /// Whether a third matrix makes the gate.
    pub fn is_gated(self) -> bool {
        matches!(self, Self::Swiglu | Self::Geglu)
    }
}

/// x (…, n) → (…, n) through `n_inner` channels: `c_fc` (and for a gate `c_gate`), a non-linear function,
/// `c_proj`.
pub fn feed_forward(
    tape: &mut Tape,
    x: Var,
    kind: FeedForward,
    n_inner: usize,
    (linear, lora): (Linear, Lora),
    out_std: f32,
) -> Result<Var, OpError> {
    let n = tape.spec(x).shape.width();
    let layer = |tape: &mut Tape, site: Site, x: Var, n_out: usize, linear: Linear| {
        let y = linear.record(tape, x, n_out)?;
        lora.add(tape, site, x, y)
    };
    let mut hidden = tape.scoped("c_fc", |t| layer(t, Site::Up, x, n_inner, linear))?;
    // Of a form without a gate, not used.
    let mut gate = hidden;
    if kind.is_gated() {
        gate = tape.scoped("c_gate", |t| layer(t, Site::Gate, x, n_inner, linear))?;
        [gate, hidden] = lora.add_split(tape, Site::GateUp, x, [gate, hidden])?;
    }
    let active = match kind {
        FeedForward::Linear => hidden,
        FeedForward::Gelu => tape.apply_one(Gelu(GeluApproximation::Exact), &[hidden])?,
        FeedForward::GeluTanh => tape.apply_one(Gelu(GeluApproximation::Tanh), &[hidden])?,
        FeedForward::Relu => tape.apply_one(Activation(ActivationFunction::Relu), &[hidden])?,
        FeedForward::Relu2 => tape.apply_one(Activation(ActivationFunction::ReluSquared), &[hidden])?,
        FeedForward::Swiglu => tape.apply_one(Gated, &[gate, hidden])?,
        FeedForward::Geglu => {
            let gate = tape.apply_one(Gelu(GeluApproximation::Tanh), &[gate])?;
            tape.apply_one(Multiply, &[gate, hidden])?
        }
    };
    tape.scoped("c_proj", |t| layer(t, Site::Down, active, n, linear.with_std(out_std)))
}

/// x with a share `p` of its elements zeroed when training.
pub fn dropout(tape: &mut Tape, x: Var, p: f32, pass: Pass) -> Result<Var, OpError> {
    if pass != Pass::Train || p == 0.0 {
        return Ok(x);
    }
    let salt = tape.salt();
    tape.apply_one(Dropout { p, salt }, &[x])
}
