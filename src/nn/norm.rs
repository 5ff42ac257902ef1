//! Layer normalisation, alone and fused with the addition of a residual branch, and its root-mean-square form.

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Tape};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::residual_norm::ResidualNorm;
use crate::ops::rms_norm::RmsNorm;

const EPS: f32 = 1e-5;

/// `weight` (n), one, and `bias` (n), zero.
fn parameters(tape: &mut Tape, n: usize, bias: bool) -> Vec<Var> {
    let mut parameters = vec![tape.parameter("weight", [n], Init::Constant(1.0))];
    if bias {
        parameters.push(tape.parameter("bias", [n], Init::Constant(0.0)));
    }
    parameters
}

/// x (…, n) → its norm.
///
/// # Errors
/// When `x` does not fit.
pub fn layer_norm(tape: &mut Tape, x: Var, bias: bool) -> Result<Var, OpError> {
    let mut operands = vec![x];
    operands.extend(parameters(tape, tape.spec(x).shape.width(), bias));
    Ok(tape.apply(LayerNorm { eps: EPS }, &operands)?[0])
}

/// x (…, n) → x over its root mean square, times `weight`.
///
/// # Errors
/// When `x` does not fit.
pub fn rms_norm(tape: &mut Tape, x: Var) -> Result<Var, OpError> {
    let mut operands = vec![x];
    operands.extend(parameters(tape, tape.spec(x).shape.width(), false));
    Ok(tape.apply(RmsNorm { eps: EPS }, &operands)?[0])
}

/// (x, branch) → (x + branch, its norm): the residual stream after a block and what the next block reads.
///
/// # Errors
/// When the shapes differ.
pub fn residual_norm(tape: &mut Tape, x: Var, branch: Var, bias: bool) -> Result<(Var, Var), OpError> {
    let mut operands = vec![x, branch];
    operands.extend(parameters(tape, tape.spec(x).shape.width(), bias));
    let outputs = tape.apply(ResidualNorm { eps: EPS }, &operands)?;
    Ok((outputs[0], outputs[1]))
}
