//! gelu: y = x Φ(x), the Gaussian error linear unit (Hendrycks & Gimpel 2016), exact or in its tanh form.
//!
//! GPT-2 uses the tanh form, nanoGPT the exact one. A derivative must be of the same form as its function.

use crate::ops::prelude::*;

pub static GELU: OpInfo = OpInfo { name: "gelu", formula: "y = x Φ(x)", cases };
pub static GELU_BACKWARD: OpInfo =
    OpInfo { name: "gelu_backward", formula: "dx = dy (Φ(x) + x φ(x))", cases: backward_cases };

/// Which Φ is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluApproximation {
    /// Φ(x) = ½ (1 + erf(x/√2)).
    Exact,
    /// Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³))).
    Tanh,
}

/// y = x Φ(x).
#[derive(Clone, Debug)]
pub struct Gelu(pub GeluApproximation);

/// √(2/π).
const TANH_SCALE: f64 = 0.797_884_560_802_865_4;
const TANH_CUBIC: f64 = 0.044_715;
/// 1/√(2π).
const DENSITY_SCALE: f64 = 0.398_942_280_401_432_7;

impl Unary for Gelu {
    fn entries() -> [&'static OpInfo; 2] {
        [&GELU, &GELU_BACKWARD]
    }

    fn shader() -> Shader {
        shader!("gelu", "normal")
    }

    fn constants(&self) -> Vec<(&'static str, u32)> {
        vec![("TANH", (self.0 == GeluApproximation::Tanh).into())]
    }

    fn flops() -> [u64; 2] {
        [10, 20]
    }

    #[inline(always)]
    fn value<F: Real>(&self, x: F) -> F {
        match self.0 {
            GeluApproximation::Exact => x * x.normal_cdf(),
            GeluApproximation::Tanh => {
                let u = F::of(TANH_SCALE) * (x + F::of(TANH_CUBIC) * x * x * x);
                F::of(0.5) * x * (F::ONE + u.tanh())
            }
        }
    }

    #[inline(always)]
    fn slope<F: Real>(&self, x: F) -> F {
        match self.0 {
            GeluApproximation::Exact => {
                x.normal_cdf() + x * F::of(DENSITY_SCALE) * (F::of(-0.5) * x * x).exp()
            }
            GeluApproximation::Tanh => {
                let u = F::of(TANH_SCALE) * (x + F::of(TANH_CUBIC) * x * x * x);
                let tanh = u.tanh();
                let du = F::of(TANH_SCALE) * (F::ONE + F::of(3.0 * TANH_CUBIC) * x * x);
                F::of(0.5) * (F::ONE + tanh) + F::of(0.5) * x * (F::ONE - tanh * tanh) * du
            }
        }
    }
}

/// Φ is good to about 8 units relative to 1: the argument of its exponential is rounded, and WGSL allows exp
/// an error of 3 + 2|x| units and tanh one of 2⁻¹¹ on paper; adapters in use stay below 16 units.
fn bound(largest: f32) -> Bound {
    Bound::new(16.0, 8.0 * f64::from(largest.min(8.0)))
}

fn cases() -> Vec<Case> {
    let mut cases = both_forms(|form, shape, fill, largest| {
        Case::new(Gelu(form), &[Spec::f32(shape)], bound(largest)).with(0, fill)
    });
    // Where y is small but x³ still matters, so that the last digit of 0.044715 moves y by more than 8 units: Φ
    // is below 0.07 and its error about one unit, of tanh near -1, which x/2 at most makes larger by a quarter.
    for form in [GeluApproximation::Exact, GeluApproximation::Tanh] {
        let case = Case::new(Gelu(form), &[Spec::f32([3, 65])], Bound::new(16.0, 4.0));
        cases.push(case.with(0, Fill::Between(-2.5, -1.5)));
    }
    // Near 0 nothing cancels: y has the relative error of Φ, to which every coefficient of its polynomial adds.
    let case = Case::new(Gelu(GeluApproximation::Exact), &[Spec::f32([3, 65])], Bound::new(16.0, 0.0));
    cases.push(case.with(0, Fill::Between(-0.125, 0.125)));
    cases
}

fn backward_cases() -> Vec<Case> {
    let mut cases = both_forms(|form, shape, fill, largest| {
        Case::new(Backward(Gelu(form)), &[Spec::f32(shape); 2], bound(largest)).with(0, fill)
    });
    // Near 0, where the density is flat and its exponential has nothing to round: Φ has the error of its own
    // polynomial alone, and every coefficient of it counts.
    for (form, from, to) in [(GeluApproximation::Exact, -0.125, 0.125), (GeluApproximation::Tanh, 0.25, 0.75)]
    {
        let case = Case::new(Backward(Gelu(form)), &[Spec::f32([3, 65]); 2], Bound::new(8.0, 4.0));
        cases.push(case.with(0, Fill::Between(from, to)));
    }
    // Around the lowest slope, -0.13, where the last digits of 0.044715 and 0.134145 move it by 15 and 6 units:
    // 1 - tanh² is a quarter there, so that of an error of the exponential an eighth remains.
    let case =
        Case::new(Backward(Gelu(GeluApproximation::Tanh)), &[Spec::f32([3, 65]); 2], Bound::new(8.0, 3.0));
    cases.push(case.with(0, Fill::Between(-1.75, -1.25)));
    cases
}

fn both_forms(case: fn(GeluApproximation, [usize; 2], Fill, f32) -> Case) -> Vec<Case> {
    let mut cases = Vec::new();
    for form in [GeluApproximation::Exact, GeluApproximation::Tanh] {
        for (shape, largest) in [([1, 1], 1.0), ([3, 65], 6.0), ([7, 129], 1e4), ([1, 1409], 3.0)] {
            cases.push(case(form, shape, Fill::Uniform(largest), largest));
        }
    }
    cases
}
