//! What the recurrent cells share: the rows of the projected inputs that one step takes, and their gradient.

use crate::ops::prelude::*;
use crate::ops::zeros::Zeros;

/// Checks that gx (…, n H) has rows `first..first + B` for gh (B, n H); returns the type of a state, (B, H).
pub fn expect_gates(gx: Spec, gh: Spec, n: usize, first: usize) -> Result<Spec, OpError> {
    let (batch, width) = (gh.shape.rows(), gh.shape.width());
    expect("gh", gh, Spec::f32([batch, width]))?;
    if width.is_multiple_of(n) && gx.shape.width() == width && first + batch <= gx.shape.rows() {
        expect("gx", gx, Spec::f32(gx.shape))?;
        return Ok(Spec::f32([batch, width / n]));
    }
    Err(OpError::new(format!(
        "operand `gx` is {gx}, which has no rows {first} to {} of {n} gates each for gh, {gh}",
        first + batch
    )))
}

/// The gradient of all projected inputs so far: every step adds to its rows in place.
pub fn so_far_or_zeros(tape: &mut dyn Record, at: &Applied, input: usize) -> Result<Var, OpError> {
    let shape = tape.spec(at.inputs[input]).shape;
    at.so_far[input].map_or_else(|| record_one(tape, Zeros(shape), &[]), Ok)
}

/// The parameters and the grid of one thread per element of a state.
pub fn over_state(dispatch: Dispatch, first: usize, state: Spec, target: &Target) -> Dispatch {
    dispatch.param("first", first).param("width", state.shape.width()).elements(state.shape.len(), target)
}

/// The sizes of a case: rows of gx, the first one taken, B and H. Single elements, a step in the middle, and as
/// many elements as a workgroup has threads, one more and many: more workgroups than a grid folded to rows of three
/// has in three of them.
const SIZES: [[usize; 4]; 6] =
    [[1, 0, 1, 1], [9, 3, 3, 7], [12, 7, 5, 13], [6, 2, 2, 128], [4, 1, 1, 257], [13, 2, 11, 131]];

/// Cases of a cell with `n` gates: operands from (gx, gh, a state), and gates near zero, as in training, and far.
///
/// Gates are good to four units of 1, and what follows sums at most three products of them and numbers to ±1, of
/// which c is one more.
pub fn cases<O: Twin>(
    n: usize,
    make: impl Fn(usize) -> O,
    operands: impl Fn(Spec, Spec, Spec) -> Vec<Spec>,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for [rows, first, batch, width] in SIZES {
        let specs =
            operands(Spec::f32([rows, n * width]), Spec::f32([batch, n * width]), Spec::f32([batch, width]));
        for largest in [1.0, 6.0, 1e4] {
            let case = Case::new(make(first), &specs, Bound::new(8.0, 24.0));
            cases.push(case.with(0, Fill::Uniform(largest)));
        }
    }
    cases
}
