//! gated: SwiGLU's y = silu(g) · u (Shazeer 2020): one projection of a layer opens and shuts the other.

use super::activation::bound;
use crate::ops::prelude::*;

pub static GATED: OpInfo = OpInfo { name: "gated", formula: "y = g σ(g) u", cases };
pub static GATED_BACKWARD: OpInfo = OpInfo {
    name: "gated_backward",
    formula: "dg = dy u (σ(g) + g σ'(g)), du = dy g σ(g)",
    cases: backward_cases,
};

/// (g, u) → y of the same shape.
#[derive(Debug)]
pub struct Gated;

/// (g, u, dy) → dg, du.
#[derive(Debug)]
pub struct GatedBackward;

impl Elementwise for Gated {
    fn entry(&self) -> &'static OpInfo {
        &GATED
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("gated/forward", "sigmoid")).reads(["g", "u"]).writes(["y"]).flops(6)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0, 1],
            #[inline(always)]
            |[g, u], _| [g * g.sigmoid() * u],
        );
    }

    fn derivative(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        record_gradients(tape, GatedBackward, &[at.inputs[0], at.inputs[1], at.upstream(0)?])
    }
}

impl Elementwise for GatedBackward {
    fn entry(&self) -> &'static OpInfo {
        &GATED_BACKWARD
    }

    fn declare(&self) -> Declaration {
        let declaration = Declaration::new(shader!("gated/backward", "sigmoid"));
        declaration.reads(["g", "u", "dy"]).writes(["dg", "du"]).flops(14)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0, 1, 2],
            #[inline(always)]
            |[g, u, dy], _| {
                let sigmoid = g.sigmoid();
                [dy * u * (sigmoid + g * g.sigmoid_slope()), dy * g * sigmoid]
            },
        );
    }
}

const SIZES: [([usize; 2], f32); 5] =
    [([1, 1], 1.0), ([3, 65], 6.0), ([7, 129], 1e4), ([1, 1409], 3.0), ([5, 67], 40.0)];

fn cases() -> Vec<Case> {
    let case = |(shape, largest)| {
        Case::new(Gated, &[Spec::f32(shape); 2], bound(largest)).with(0, Fill::Uniform(largest))
    };
    SIZES.map(case).into()
}

/// As for the derivative of SiLU, which is a difference of terms below 1 where it crosses zero.
fn backward_cases() -> Vec<Case> {
    let case = |(shape, largest)| {
        let bound = Bound { absolute: 8.0, ..bound(largest) };
        Case::new(GatedBackward, &[Spec::f32(shape); 3], bound).with(0, Fill::Uniform(largest))
    };
    SIZES.map(case).into()
}
