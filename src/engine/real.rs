//! The number a twin computes with: f32 for speed, f64 for truth.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use gemm_common::Parallelism;

use super::dots::dots_f32;

/// A library's product: m, n, k; C with its column and row strides, and whether it is read; A and B with theirs;
/// what C is multiplied with, and what A·B; three conjugations; threads.
pub type Gemm<F> = unsafe fn(
    usize,
    usize,
    usize,
    *mut F,
    isize,
    isize,
    bool,
    *const F,
    isize,
    isize,
    *const F,
    isize,
    isize,
    F,
    F,
    bool,
    bool,
    bool,
    Parallelism,
);

/// A real number type. Every twin is written once over this trait.
///
/// The f32 functions are branch-free polynomials that compilers vectorise, good to a few units in the
/// last place; the f64 ones come from the standard library and libm and serve as the oracle.
pub trait Real:
    Copy
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;

    fn of(x: f64) -> Self;
    fn f64(self) -> f64;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn abs(self) -> Self;
    fn is_finite(self) -> bool;
    /// `self * a + b`, rounded once where the processor can.
    fn fma(self, a: Self, b: Self) -> Self;
    /// y_rj ← x_r · column(j): a few rows times a matrix stored by columns.
    fn dots<'a, const R: usize>(
        x: [&'a [Self]; R],
        column: impl Fn(usize) -> &'a [Self],
        y: [&mut [Self]; R],
    ) {
        for (x, y) in x.into_iter().zip(y) {
            for (j, y) in y.iter_mut().enumerate() {
                *y = x.iter().zip(column(j)).map(|(&x, &c)| x * c).sum();
            }
        }
    }
    /// The matrix product of a library, if one knows this number.
    fn gemm() -> Option<Gemm<Self>> {
        None
    }
    /// eˣ. NaN stays NaN.
    fn exp(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Φ(x) = ½ erfc(-x/√2), the cumulative distribution of the standard normal.
    fn normal_cdf(self) -> Self;
    /// σ(x) = 1/(1 + e⁻ˣ), by an exponential that cannot overflow, so that both tails keep their precision.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let e = (-self.abs()).exp();
        (if self < Self::ZERO { e } else { Self::ONE }) / (Self::ONE + e)
    }
    /// ln(1 + eˣ).
    #[inline(always)]
    fn softplus(self) -> Self {
        let e = (-self.abs()).exp();
        (if self > Self::ZERO { self } else { Self::ZERO }) + (Self::ONE + e).ln()
    }
    /// σ'(x) = σ(x) σ(-x).
    #[inline(always)]
    fn sigmoid_slope(self) -> Self {
        let e = (-self.abs()).exp();
        e / ((Self::ONE + e) * (Self::ONE + e))
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn ln(self) -> Self {
        self.ln()
    }
    fn abs(self) -> Self {
        self.abs()
    }
    fn is_finite(self) -> bool {
        self.is_finite()
    }
    fn fma(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    fn gemm() -> Option<Gemm<Self>> {
        Some(gemm_f64::gemm::f64::get_gemm_fn())
    }
    fn exp(self) -> Self {
        self.exp()
    }
    fn tanh(self) -> Self {
        self.tanh()
    }
    fn normal_cdf(self) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
}

/// Horner's rule, highest power first.
#[inline(always)]
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().fold(0.0, |sum, &c| sum.mul_add(x, c))
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.is_finite()
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }
    fn dots<'a, const R: usize>(
        x: [&'a [Self]; R],
        column: impl Fn(usize) -> &'a [Self],
        y: [&mut [Self]; R],
    ) {
        dots_f32(x, column, y);
    }
    fn gemm() -> Option<Gemm<Self>> {
        Some(gemm_f32::gemm::f32::get_gemm_fn())
    }

    /// Cody–Waite reduction to |r| ≤ ½ ln 2, then a degree-6 polynomial; 0 below -87.3, finite up to 88.3.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding 1.5·2²³ rounds to an integer and leaves it in the low bits of the float.
        const ROUND: f32 = 12_582_912.0;
        let x = if self > 88.37 { 88.37 } else { self };
        let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = rounded - ROUND;
        let r = n.mul_add(-0.693_359_4, x);
        let r = n.mul_add(2.121_944_4e-4, r);
        let p = polynomial(r, &[1.388_888_9e-3, 8.333_333e-3, 4.166_666_7e-2, 0.166_666_67, 0.5, 1.0, 1.0]);
        let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
        if x < -87.3 { 0.0 } else { p * scale }
    }

    /// An odd polynomial (Moshier, Cephes) below 0.625, 1 - 2/(e²ˣ + 1) above it.
    #[inline(always)]
    fn tanh(self) -> Self {
        let z = self * self;
        let near =
            polynomial(z, &[-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8]);
        let near = (near * z).mul_add(self, self);
        let a = self.abs();
        let far = 1.0 - 2.0 / (Real::exp(2.0 * a) + 1.0);
        if a < 0.625 { near } else { far.copysign(self) }
    }

    /// Φ(-a) = ½ erfcx(a/√2) e^(-a²/2): the first factor is smooth and bounded, here a polynomial in
    /// 1/(1 + 0.4 a/√2) fitted to a relative error of 6e-8, so both tails keep their relative precision.
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        let a = self.abs();
        let t = 1.0 / a.mul_add(0.4 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
        let erfcx = t * polynomial(t, &ERFCX);
        let tail = 0.5 * erfcx * Real::exp(-0.5 * a * a);
        if self < 0.0 { tail } else { 1.0 - tail }
    }
}

/// erfcx(x) ≈ t·P(t), t = 1/(1 + 0.4 x); the same numbers stand in `shaders/common/normal.wgsl`.
const ERFCX: [f32; 9] = [
    4.026_785_6e-2,
    -0.135_472_82,
    7.384_568e-2,
    9.972_56e-2,
    7.151_102e-2,
    0.196_961_9,
    0.200_958_87,
    0.226_575_67,
    0.225_626_3,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(lo: f64, hi: f64, f: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        let steps = 100_000;
        (0..=steps)
            .map(|i| (lo + (hi - lo) * i as f64 / steps as f64) as f32)
            .map(|x| (f64::from(f(x)) - truth(x.into())).abs() / truth(x.into()).abs().max(1e-37))
            .fold(0.0, f64::max)
    }

    #[test]
    fn f32_functions_are_good_to_a_few_ulp() {
        assert!(worst(-87.0, 88.0, Real::exp, f64::exp) < 3e-7);
        assert!(worst(-9.0, 9.0, Real::tanh, f64::tanh) < 3e-7);
        assert!(worst(-3.0, 9.0, Real::normal_cdf, Real::normal_cdf) < 1e-6);
        assert!(worst(-9.0, -3.0, Real::normal_cdf, Real::normal_cdf) < 4e-6);
    }

    #[test]
    fn special_values_are_kept() {
        for f in [Real::exp, Real::tanh, Real::normal_cdf] {
            let f: fn(f32) -> f32 = f;
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!(Real::exp(-1e4f32), 0.0);
        assert_eq!((Real::tanh(1e4f32), Real::tanh(-1e4f32)), (1.0, -1.0));
        assert_eq!((Real::normal_cdf(1e4f32), Real::normal_cdf(-1e4f32)), (1.0, 0.0));
    }
}
