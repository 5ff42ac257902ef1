//! The global norm of all gradients, by which they are clipped.

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::ops::grad_norm::{GradNorm, Squares};

/// Records √Σ g² over all elements of these gradients, (1).
pub fn global_norm(tape: &mut Tape, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    let blocks: usize = gradients.iter().map(|g| Squares::blocks(tape.spec(g.1).shape.len())).sum();
    let mut partials = tape.state("grad_norm.squares", [blocks], Init::Constant(0.0), State::Transient);
    let mut first = 0;
    for &(_, gradient) in gradients {
        partials = tape.apply_one(Squares { first }, &[gradient, partials])?;
        first += Squares::blocks(tape.spec(gradient).shape.len());
    }
    tape.apply_one(GradNorm, &[partials])
}
