//! A number that carries a bound of its own rounding error: a twin run over it derives the error bound of its
//! op from the operands at hand.
//!
//! The rules are those of a running error analysis (Wilkinson; Higham 2002, §3.3), in units of 2⁻²⁴ of an
//! f32 result, with two changes. A sum remembers how many terms it has and Σ|terms|, and is charged
//! √terms · Σ|terms| when it is used, whatever the order: rounding errors walk at random, and kernels sum in
//! other orders than the twin. And functions are charged what WGSL allows where adapters come near it, else
//! what they give: a division 2.5 ULP, a logarithm 2⁻²¹, an exponential for rounding its argument. What
//! remains, that kernels use other formulas, is the leeway of `verify::lockstep`.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::real::Real;

/// A value, and how far an f32 computation of it may be off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounded {
    pub value: f64,
    /// Error of the parts, in units.
    inherited: f64,
    /// Σ|terms| of the sum that it is.
    magnitude: f64,
    /// How many terms that sum has.
    terms: f64,
}

/// 2⁻²⁴: an f32 is rounded by at most this much of itself.
pub const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

impl Bounded {
    /// A number that has no error, such as an operand.
    pub const fn exact(value: f64) -> Self {
        Self { value, inherited: 0.0, magnitude: value.abs(), terms: if value == 0.0 { 0.0 } else { 1.0 } }
    }

    /// The bound of the error, in units.
    #[inline(always)]
    pub fn units(self) -> f64 {
        let own = match self.terms {
            // One addition is rounded relative to its result, whatever cancels in it.
            ..2.0 => 0.0,
            2.0 => self.value.abs(),
            terms => terms.sqrt() * self.magnitude,
        };
        self.inherited + own
    }

    #[inline(always)]
    fn rounded(value: f64, units: f64) -> Self {
        Self { value, inherited: units, magnitude: value.abs(), terms: 1.0 }
    }
}

impl Add for Bounded {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            inherited: self.inherited + other.inherited,
            magnitude: self.magnitude + other.magnitude,
            terms: self.terms + other.terms,
        }
    }
}

impl Neg for Bounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

impl Sub for Bounded {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Bounded {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let value = self.value * other.value;
        let (a, b) = (self.units(), other.units());
        Self::rounded(value, value.abs() + self.value.abs() * b + other.value.abs() * a + a * b * UNIT)
    }
}

impl Div for Bounded {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let inherited = (self.units() + value.abs() * other.units()) / other.value.abs();
        Self::rounded(value, inherited + 5.0 * value.abs())
    }
}

macro_rules! assign {
    ($($trait:ident $method:ident $op:tt),*) => {
        $(impl $trait for Bounded {
            #[inline(always)]
            fn $method(&mut self, other: Self) {
                *self = *self $op other;
            }
        })*
    };
}
assign!(AddAssign add_assign +, SubAssign sub_assign -, MulAssign mul_assign *, DivAssign div_assign /);

impl Sum for Bounded {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::ZERO, |sum, term| sum + term)
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Bounded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ± {} units", self.value, self.units())
    }
}

impl Real for Bounded {
    const ZERO: Self = Self::exact(0.0);
    const ONE: Self = Self::exact(1.0);

    /// A constant: its f32 is half a unit off.
    fn of(x: f64) -> Self {
        Self { inherited: if f64::from(x as f32) == x { 0.0 } else { x.abs() }, ..Self::exact(x) }
    }
    fn f64(self) -> f64 {
        self.value
    }
    fn sqrt(self) -> Self {
        let (value, units) = (self.value.sqrt(), self.units());
        // Near zero the slope is infinite, but √(a + e) ≤ √a + √e.
        let inherited = (units / (2.0 * value)).min((units / UNIT).sqrt());
        Self::rounded(value, if units == 0.0 { 0.0 } else { inherited } + 4.0 * value)
    }
    fn ln(self) -> Self {
        let value = self.value.ln();
        Self::rounded(value, self.units() / self.value + 8.0 + 6.0 * value.abs())
    }
    fn abs(self) -> Self {
        Self { value: self.value.abs(), ..self }
    }
    fn is_finite(self) -> bool {
        self.value.is_finite()
    }
    fn fma(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    /// The argument is rounded again when it is multiplied by log₂ e: |x| units of the result.
    fn exp(self) -> Self {
        let value = self.value.exp();
        if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&value) {
            // It becomes zero or infinite, so that all of it is error; twice, as for what else is rounded.
            return Self::rounded(value, 2.0 * value / UNIT);
        }
        Self::rounded(value, value * (self.units() + 4.0 + 2.0 * self.value.abs()))
    }
    /// By exponentials it is good to a few units of 1, not of itself.
    fn tanh(self) -> Self {
        let value = self.value.tanh();
        Self::rounded(value, (1.0 - value * value) * self.units() + 4.0)
    }
    /// A tail is a polynomial times exp(-x²/2), whose argument is rounded twice.
    fn normal_cdf(self) -> Self {
        let value = Real::normal_cdf(self.value);
        let squared = self.value * self.value;
        let density = 0.4 * (-0.5 * squared).exp();
        Self::rounded(value, density * self.units() + value.min(2.0 - value) * (8.0 + squared.min(180.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_charged_by_the_root_of_its_terms() {
        let sum: Bounded = (0..100).map(|i| Bounded::exact(if i % 2 == 0 { 1.0 } else { -1.0 })).sum();
        assert_eq!((sum.value, sum.units()), (0.0, 1000.0));
        assert_eq!((Bounded::ONE - Bounded::of(0.75)).units(), 0.25);
    }

    #[test]
    fn what_cancels_after_rounding_keeps_its_error() {
        let product = Bounded::exact(3.0) * Bounded::exact(5.0);
        assert_eq!((product - Bounded::exact(15.0)).units(), 15.0);
        assert_eq!(Bounded::exact(7.0).units(), 0.0);
    }
}
