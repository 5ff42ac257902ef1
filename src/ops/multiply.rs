//! multiply: y = a b, element by element.

use crate::ops::prelude::*;

pub static MULTIPLY: OpInfo = OpInfo { name: "multiply", formula: "y = a b", cases };
pub static MULTIPLY_BACKWARD: OpInfo =
    OpInfo { name: "multiply_backward", formula: "da = dy b, db = dy a", cases: backward_cases };

/// (a, b) → y of the same shape.
#[derive(Debug)]
pub struct Multiply;

/// (a, b, dy) → da, db.
#[derive(Debug)]
pub struct MultiplyBackward;

impl Elementwise for Multiply {
    fn entry(&self) -> &'static OpInfo {
        &MULTIPLY
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("multiply/forward")).reads(["a", "b"]).writes(["y"])
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0, 1],
            #[inline(always)]
            |[a, b], _| [a * b],
        );
    }

    fn derivative(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        record_gradients(tape, MultiplyBackward, &[at.inputs[0], at.inputs[1], at.upstream(0)?])
    }
}

impl Elementwise for MultiplyBackward {
    fn entry(&self) -> &'static OpInfo {
        &MULTIPLY_BACKWARD
    }

    fn declare(&self) -> Declaration {
        let declaration = Declaration::new(shader!("multiply/backward"));
        declaration.reads(["a", "b", "dy"]).writes(["da", "db"]).flops(2)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0, 1, 2],
            #[inline(always)]
            |[a, b, dy], _| [dy * b, dy * a],
        );
    }
}

const SHAPES: [[usize; 2]; 4] = [[1, 1], [3, 65], [1, 1409], [7, 129]];

/// One product, rounded once; WGSL may round either way.
fn cases() -> Vec<Case> {
    SHAPES.map(|shape| Case::new(Multiply, &[Spec::f32(shape); 2], Bound::new(2.0, 0.0))).into()
}

fn backward_cases() -> Vec<Case> {
    SHAPES.map(|shape| Case::new(MultiplyBackward, &[Spec::f32(shape); 3], Bound::new(2.0, 0.0))).into()
}
