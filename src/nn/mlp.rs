//! The feed-forward half of a Transformer block, and dropout.

use super::Pass;
use super::linear::linear;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::ops::dropout::Dropout;
use crate::ops::gelu::{Form, Gelu};

/// x (…, n) → (…, n) through 4 n hidden channels: `c_fc`, GELU, `c_proj`.
///
/// # Errors
/// When `x` does not fit.
pub fn mlp(tape: &mut Tape, x: Var, form: Form, bias: bool, out_std: f32) -> Result<Var, OpError> {
    let n = tape.spec(x).shape.width();
    let hidden = tape.scoped("c_fc", |t| linear(t, x, 4 * n, bias, 0.02))?;
    let active = tape.apply_one(Gelu(form), &[hidden])?;
    tape.scoped("c_proj", |t| linear(t, active, n, bias, out_std))
}

/// x with a share `p` of its elements zeroed when training.
///
/// # Errors
/// When `p` is no probability below 1.
pub fn dropout(tape: &mut Tape, x: Var, p: f32, pass: Pass) -> Result<Var, OpError> {
    if pass != Pass::Train || p == 0.0 {
        return Ok(x);
    }
    let salt = tape.salt();
    tape.apply_one(Dropout { p, salt }, &[x])
}
