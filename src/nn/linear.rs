//! The linear layer y = x Wᵀ + b.

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Tape};
use crate::ops::matmul::Matmul;

/// x (…, n_in) → (…, n_out). Declares `weight` (n_out, n_in), normal with this standard deviation, and `bias`
/// (n_out), zero.
///
/// # Errors
/// When `x` does not fit.
pub fn linear(tape: &mut Tape, x: Var, n_out: usize, bias: bool, std: f32) -> Result<Var, OpError> {
    let n_in = tape.spec(x).shape.width();
    let mut operands = vec![x, tape.parameter("weight", [n_out, n_in], Init::Normal(std))];
    if bias {
        operands.push(tape.parameter("bias", [n_out], Init::Constant(0.0)));
    }
    tape.apply_one(Matmul { bias, ..Matmul::LINEAR }, &operands)
}
