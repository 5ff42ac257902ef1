//! Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.
//!
//! The sum m of a hidden matrix's gradients has a few large singular values and many small ones. Five
//! Newton–Schulz steps bring them all near 1, so that every direction is learned at the same pace. An orthogonal
//! matrix of r rows and c columns has elements of size 1/√max(r, c); times 0.2 √max(r, c) they are as large as
//! AdamW's updates, so that its learning rate and weight decay fit (Liu et al. 2025, "Muon is scalable").

use super::adamw;
use super::clip::global_norm;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::ops::adamw::AdamW;
use crate::ops::combine::Combine;
use crate::ops::divide::Divide;
use crate::ops::grad_norm::GradNorm;
use crate::ops::matmul::Matmul;
use crate::ops::sgd::Sgd;

/// How hidden matrices are updated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// μ of m ← μ m + g.
    pub momentum: f32,
    /// Orthogonalises g + μ m instead of m.
    pub nesterov: bool,
    pub weight_decay: f32,
}

impl Muon {
    /// The learning rate that suits it, where AdamW's is 1. An update is as large as AdamW's, but spread evenly
    /// over all directions: none of them overshoots first.
    pub const RATE: f64 = 3.0;
}

impl Default for Muon {
    fn default() -> Self {
        Self { momentum: 0.95, nesterov: true, weight_decay: 0.1 }
    }
}

/// Newton–Schulz steps.
const STEPS: usize = 5;
/// Of the polynomial a x + b x³ + c x⁵: it is steepest at zero among those that keep singular values below 1.3.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// The size of an update's elements: about AdamW's.
const UPDATE_RMS: f32 = 0.2;

/// Records the update of every parameter from its gradient; returns the global norm before clipping, (1).
///
/// [Hidden](crate::engine::tape::Parameter::Hidden) matrices and adapters go by Muon, all else by AdamW. Only AdamW's
/// gradients are clipped: an orthogonal update has the same size whatever its gradient's. The sums are states
/// `muon.m.NAME`.
pub fn update(tape: &mut Tape, muon: Muon, rest: AdamW, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
    let norm = tape.scoped("adamw", |tape| global_norm(tape, gradients))?;
    let (hidden, others): (Vec<_>, Vec<_>) =
        gradients.iter().partition(|(parameter, _)| tape.is_hidden(*parameter));
    // One after another, so that a device can do them at once.
    for (parameter, gradient) in others {
        tape.scoped("adamw", |tape| adamw::step(tape, rest, norm, parameter, gradient))?;
    }
    for (parameter, gradient) in hidden {
        tape.scoped("muon", |tape| step(tape, muon, norm, parameter, gradient))?;
    }
    Ok(norm)
}

fn step(tape: &mut Tape, muon: Muon, norm: Var, parameter: Var, gradient: Var) -> Result<(), OpError> {
    let shape = tape.spec(parameter).shape;
    let name = format!("muon.m.{}", tape.name(parameter));
    let m = tape.state(&name, shape, Init::Constant(0.0), State::Saved);
    let m = tape.apply_one(Combine { a: muon.momentum, b: Some(1.0), in_place: true }, &[m, gradient])?;
    let ahead = Combine { a: 1.0, b: Some(muon.momentum), in_place: false };
    let direction = if muon.nesterov { tape.apply_one(ahead, &[gradient, m])? } else { m };
    let scale = UPDATE_RMS * (shape.width().max(shape.rows()) as f32).sqrt();
    let update = orthogonalise(tape, direction, scale)?;
    let descent = Sgd { momentum: 0.0, nesterov: false, weight_decay: muon.weight_decay, clip: 0.0 };
    tape.apply(descent, &[update, norm, parameter])?;
    Ok(())
}

/// G (rows, columns) → `scale` times about the orthogonal matrix nearest to it.
///
/// With X₀ = G/‖G‖, X ← a X + (b A + c A²) X, where A = X Xᵀ. Where rows are more than columns, A = Xᵀ X
/// stands on the right of X instead: the same polynomial of X, by smaller products.
fn orthogonalise(tape: &mut Tape, g: Var, scale: f32) -> Result<Var, OpError> {
    let shape = tape.spec(g).shape;
    let is_tall = shape.rows() > shape.width();
    let norm = tape.apply_one(GradNorm, &[g])?;
    let mut x = tape.apply_one(Divide { eps: 1e-7 }, &[g, norm])?;
    let [a, b, c] = COEFFICIENTS;
    for i in 0..STEPS {
        let last = if i + 1 == STEPS { scale } else { 1.0 };
        let gram = Matmul { transpose_a: is_tall, transpose_b: !is_tall, ..Matmul::default() };
        let gram = tape.apply_one(gram, &[x, x])?;
        let cubic = tape.apply_one(Combine::scale(b), &[gram])?;
        let square = Matmul { scale: c, accumulate: true, ..Matmul::default() };
        let polynomial = tape.apply_one(square, &[gram, gram, cubic])?;
        let linear = tape.apply_one(Combine::scale(a * last), &[x])?;
        let (left, right) = if is_tall { (x, polynomial) } else { (polynomial, x) };
        let product = Matmul { scale: last, accumulate: true, ..Matmul::default() };
        x = tape.apply_one(product, &[left, right, linear])?;
    }
    Ok(x)
}
