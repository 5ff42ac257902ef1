//! Stochastic gradient descent over all parameters of a tape, after clipping by global norm.

use super::clip::global_norm;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::ops::sgd::Sgd;

/// Records the update of every parameter from its gradient; returns the global norm before clipping, (1).
///
/// Weight decay goes to matrices only, as in `adamw`. With a momentum its sums are states `sgd.v.NAME`.
pub fn update(tape: &mut Tape, config: Sgd, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    tape.scoped("sgd", |tape| {
        let norm = global_norm(tape, gradients)?;
        for &(parameter, gradient) in gradients {
            let shape = tape.spec(parameter).shape;
            let mut operands = vec![gradient, norm, parameter];
            if config.has_momentum() {
                let name = format!("sgd.v.{}", tape.name(parameter));
                operands.push(tape.state(&name, shape, Init::Constant(0.0), State::Saved));
            }
            let is_matrix = shape.dims().len() > 1;
            let weight_decay = if is_matrix { config.weight_decay } else { 0.0 };
            tape.apply(Sgd { weight_decay, ..config }, &operands)?;
        }
        Ok(norm)
    })
}
