//! activation: y = f(x), element by element: sigmoid, tanh, ReLU, ReLU² (So et al. 2021) or SiLU (Elfwing et al.
//! 2018). GELU has an op of its own.

use crate::ops::prelude::*;

pub static ACTIVATION: OpInfo = OpInfo { name: "activation", formula: "y = f(x)", cases };
pub static ACTIVATION_BACKWARD: OpInfo =
    OpInfo { name: "activation_backward", formula: "dx = dy f'(x)", cases: backward_cases };

/// Which f is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationFunction {
    /// σ(x) = 1/(1 + e⁻ˣ).
    Sigmoid,
    Tanh,
    /// max(x, 0); its slope at 0 is 0.
    Relu,
    /// max(x, 0)².
    ReluSquared,
    /// x σ(x).
    Silu,
}

/// y = f(x).
#[derive(Clone, Debug)]
pub struct Activation(pub ActivationFunction);

impl ActivationFunction {
    const ALL: [Self; 5] = [Self::Sigmoid, Self::Tanh, Self::Relu, Self::ReluSquared, Self::Silu];
}

/// max(x, 0); NaN stays.
#[inline(always)]
fn positive<F: Real>(x: F) -> F {
    if x < F::ZERO { F::ZERO } else { x }
}

impl Unary for Activation {
    fn entries() -> [&'static OpInfo; 2] {
        [&ACTIVATION, &ACTIVATION_BACKWARD]
    }

    fn shader() -> Shader {
        shader!("activation", "sigmoid", "normal")
    }

    fn constants(&self) -> Vec<(&'static str, u32)> {
        vec![("KIND", self.0 as u32)]
    }

    fn flops() -> [u64; 2] {
        [5, 8]
    }

    #[inline(always)]
    fn value<F: Real>(&self, x: F) -> F {
        match self.0 {
            ActivationFunction::Sigmoid => x.sigmoid(),
            ActivationFunction::Tanh => x.tanh(),
            ActivationFunction::Relu => positive(x),
            ActivationFunction::ReluSquared => positive(x) * positive(x),
            ActivationFunction::Silu => x * x.sigmoid(),
        }
    }

    /// 1 - tanh² would cancel where x is large; 4 σ'(2x) is the same and does not.
    #[inline(always)]
    fn slope<F: Real>(&self, x: F) -> F {
        match self.0 {
            ActivationFunction::Sigmoid => x.sigmoid_slope(),
            ActivationFunction::Tanh => F::of(4.0) * (F::of(2.0) * x).sigmoid_slope(),
            ActivationFunction::Relu if x > F::ZERO => F::ONE,
            ActivationFunction::Relu => F::ZERO,
            ActivationFunction::ReluSquared => F::of(2.0) * positive(x),
            ActivationFunction::Silu => x.sigmoid() + x * x.sigmoid_slope(),
        }
    }
}

/// Of numbers up to `largest`: exp of -|x| is off by 3 + 2|x| units of itself, down to e⁻⁸⁷ and twice that for
/// tanh's slope, and a few operations follow. Below that it may be flushed to zero, times an |x| of at most 104:
/// 1e-36. The slope of SiLU is a difference of terms below 1 where it crosses zero.
pub(super) fn bound(largest: f32) -> Bound {
    let exponent = f64::from(largest.min(88.0));
    Bound::new(8.0 + 2.0 * exponent, 2e-29)
}

const SIZES: [([usize; 2], f32); 5] =
    [([1, 1], 1.0), ([3, 65], 6.0), ([7, 129], 1e4), ([1, 1409], 0.7), ([5, 67], 40.0)];

fn cases() -> Vec<Case> {
    let case = |kind, (shape, largest)| {
        let case = Case::new(Activation(kind), &[Spec::f32(shape)], bound(largest));
        case.with(0, Fill::Uniform(largest))
    };
    ActivationFunction::ALL.into_iter().flat_map(|kind| SIZES.map(|size| case(kind, size))).collect()
}

fn backward_cases() -> Vec<Case> {
    let case = |kind, (shape, largest): ([usize; 2], f32), fill| {
        let absolute = if kind == ActivationFunction::Silu { 8.0 } else { 2e-29 };
        let bound = Bound { absolute, ..bound(2.0 * largest) };
        Case::new(Backward(Activation(kind)), &[Spec::f32(shape); 2], bound).with(0, fill)
    };
    let of_kind = |kind| {
        let mut cases = SIZES.map(|size| case(kind, size, Fill::Uniform(size.1))).to_vec();
        // Zeros among them, where ReLU bends.
        cases.push(case(kind, ([2, 33], 1.0), Fill::Ties));
        cases
    };
    ActivationFunction::ALL.into_iter().flat_map(of_kind).collect()
}
