//! AdamW over all parameters of a tape, after clipping by global norm.

use super::clip::global_norm;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::ops::adamw::AdamW;

/// Records the update of every parameter from its gradient; returns the global norm before clipping, (1).
///
/// Weight decay goes to matrices only, as in GPT-2's training: a norm's weight or a bias has no direction to
/// shrink towards. Moments are states `adamw.m.NAME` and `adamw.v.NAME`.
pub fn update(tape: &mut Tape, config: AdamW, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    tape.scoped("adamw", |tape| {
        let norm = global_norm(tape, gradients)?;
        for &(parameter, gradient) in gradients {
            step(tape, config, norm, parameter, gradient)?;
        }
        Ok(norm)
    })
}

/// Records the update of one parameter, the global norm being known.
pub(super) fn step(
    tape: &mut Tape,
    config: AdamW,
    norm: Var,
    parameter: Var,
    gradient: Var,
) -> Result<(), OpError> {
    let shape = tape.spec(parameter).shape;
    let moments = ["m", "v"].map(|moment| {
        let name = format!("adamw.{moment}.{}", tape.name(parameter));
        tape.state(&name, shape, Init::Constant(0.0), State::Saved)
    });
    let is_matrix = shape.dims().len() > 1;
    let weight_decay = if is_matrix { config.weight_decay } else { 0.0 };
    tape.apply(AdamW { weight_decay, ..config }, &[gradient, norm, parameter, moments[0], moments[1]])?;
    Ok(())
}
