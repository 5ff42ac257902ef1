//! relu_squared: y = max(x, 0)², the activation of Primer (So et al. 2021).

use lal::ops::prelude::*;

// 1. What the registry says of the op and of its derivative.
pub static RELU_SQUARED: OpInfo = OpInfo { name: "relu_squared", formula: "y = max(x, 0)²", cases };
pub static RELU_SQUARED_BACKWARD: OpInfo =
    OpInfo { name: "relu_squared_backward", formula: "dx = 2 max(x, 0) dy", cases: backward_cases };

/// y = max(x, 0)².
#[derive(Clone, Debug)]
pub struct ReluSquared;

impl Unary for ReluSquared {
    fn entries() -> [&'static OpInfo; 2] {
        [&RELU_SQUARED, &RELU_SQUARED_BACKWARD]
    }

    // 2. The kernel. Inside the library it would be `shader!("relu_squared")`, from shaders/relu_squared.wgsl.
    fn shader() -> Shader {
        Shader { name: "relu_squared", source: include_str!("relu_squared.wgsl"), common: &[], frame: "" }
    }

    // 3. The cost: a comparison and a product for each element; doubling and dy are two more.
    fn flops() -> [u64; 2] {
        [2, 3]
    }

    // 4. The twin: the formula over f32 to compute with, f64 to judge by.
    #[inline(always)]
    fn value<F: Real>(&self, x: F) -> F {
        positive(x) * positive(x)
    }

    // 5. The derivative, which is an op too: the GPU runs it like any other.
    #[inline(always)]
    fn slope<F: Real>(&self, x: F) -> F {
        F::of(2.0) * positive(x)
    }
}

fn positive<F: Real>(x: F) -> F {
    if x > F::ZERO { x } else { F::ZERO }
}

// 6. The cases: one element, around the edge of a workgroup, a prime, more workgroups than a folded grid is
//    wide; small and large values. One product is rounded; doubling is exact.
const LENGTHS: [(usize, f32); 5] = [(1, 1.0), (255, 6.0), (257, 1e4), (2309, 1.0), (1409, 6.0)];

pub fn cases() -> Vec<Case> {
    let case =
        |n, op, largest| Case::new(op, &[Spec::f32([n])], Bound::ROUNDED).with(0, Fill::Uniform(largest));
    LENGTHS.map(|(n, largest)| case(n, ReluSquared, largest)).into()
}

pub fn backward_cases() -> Vec<Case> {
    let case = |n, largest| {
        Case::new(Backward(ReluSquared), &[Spec::f32([n]); 2], Bound::ROUNDED).with(0, Fill::Uniform(largest))
    };
    LENGTHS.map(|(n, largest)| case(n, largest)).into()
}
