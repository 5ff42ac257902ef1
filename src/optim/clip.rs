//! The global norm of all gradients, by which they are clipped.

use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::ops::grad_norm::GradNorm;

/// Records √Σ g² over all elements of these gradients, (1).
pub fn global_norm(tape: &mut Tape, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    let gradients: Vec<_> = gradients.iter().map(|&(_, gradient)| gradient).collect();
    tape.apply_one(GradNorm, &gradients)
}
