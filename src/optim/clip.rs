//! The global norm of all gradients, by which they are clipped.

use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::ops::grad_norm::GradNorm;
use crate::ops::zeros::Zeros;

/// Records √Σ g² over all elements of these gradients, (1): 0 where nothing is trained.
pub fn global_norm(tape: &mut Tape, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    if gradients.is_empty() {
        return tape.apply_one(Zeros([1].into()), &[]);
    }
    let gradients: Vec<_> = gradients.iter().map(|&(_, gradient)| gradient).collect();
    tape.apply_one(GradNorm, &gradients)
}
