//! Whether numbers are what they should be, and where not.

use crate::engine::case::Bound;
use crate::engine::tensor::Shape;

/// The element that came nearest to its bound, or went furthest beyond it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worst {
    pub error: f64,
    pub bound: f64,
    /// Its coordinates: `(2, 0, 17)`.
    pub at: String,
    pub got: f64,
    pub want: f64,
    /// Where and by how much the bound is exceeded.
    pub failure: Option<String>,
}

impl Worst {
    /// The part of the bound that the error uses up.
    pub fn ratio(&self) -> f64 {
        ratio(self.error, self.bound)
    }

    /// The error in units in the last place of an f32 of the expected size.
    pub fn ulp(&self) -> f64 {
        let size = self.want.abs().max(f64::from(f32::MIN_POSITIVE));
        self.error / (size.log2().floor() - 23.0).exp2()
    }

    /// The error as a part of what is expected.
    pub fn relative(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.want.abs() }
    }
}

/// The part of a bound that an error uses up; above 1 it is exceeded.
pub(super) fn ratio(error: f64, bound: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / bound }
}

/// Compares every element with what is expected.
pub fn compare(got: &[f32], want: &[f64], shape: Shape, bound: Bound) -> Worst {
    let got = got.iter().map(|&x| x.into());
    compare_with(got, want.iter().map(|&want| (want, bound.allows(want))), shape)
}

/// Compares elements with (expected, largest error).
pub fn compare_with(
    got: impl ExactSizeIterator<Item = f64>,
    want: impl ExactSizeIterator<Item = (f64, f64)>,
    shape: Shape,
) -> Worst {
    if got.len() != want.len() {
        let failure = Some(format!("has {} elements, not {}", got.len(), want.len()));
        return Worst { error: f64::INFINITY, failure, ..Worst::default() };
    }
    // (where, got, expected, error, bound)
    let mut worst = (0, 0.0, 0.0, 0.0, f64::INFINITY);
    let mut wrong = 0;
    for (i, (got, (want, allowed))) in got.zip(want).enumerate() {
        // Where no number is expected, nothing else is near it.
        let allowed = if allowed.is_finite() { allowed } else { 0.0 };
        let error = error(got, want);
        wrong += usize::from(error > allowed);
        if ratio(error, allowed) > ratio(worst.3, worst.4) || i == 0 {
            worst = (i, got, want, error, allowed);
        }
    }
    let (i, got, want, error, bound) = worst;
    let (at, all) = (coordinates(i, shape).to_string(), shape.len());
    let message = || {
        format!(
            "at {at}: {got:e} instead of {want:e}, off by {error:.3e} where {bound:.3e} is allowed \
             ({wrong} of {all} elements are wrong)"
        )
    };
    Worst { error, bound, got, want, failure: (wrong > 0).then(message), at }
}

/// |got - want|; infinite when only one of them is a number, or an infinity of that sign.
fn error(got: f64, want: f64) -> f64 {
    // An oracle beyond the range of f32 counts as infinity.
    let infinite = want.abs() > f64::from(f32::MAX);
    let same = (got.is_nan() && want.is_nan()) || (infinite && got == want.signum() * f64::INFINITY);
    match (got - want).abs() {
        _ if same => 0.0,
        error if error.is_nan() => f64::INFINITY,
        error => error,
    }
}

/// `(2, 0, 17)`.
fn coordinates(mut i: usize, shape: Shape) -> Shape {
    let mut at = shape.dims().to_vec();
    for (coordinate, &extent) in at.iter_mut().zip(shape.dims()).rev() {
        *coordinate = i % extent;
        i /= extent;
    }
    Shape::new(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(got: &[f32], want: &[f64]) -> String {
        compare(got, want, Shape::from([2, 2]), Bound::new(1.0, 0.0)).failure.unwrap_or_default()
    }

    #[test]
    fn what_is_within_the_bound_passes() {
        let third = 1.0 / 3.0;
        assert_eq!(failure(&[third as f32, 1.0, -2.0, 0.0], &[third, 1.0, -2.0, 0.0]), "");
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(failure(&[nan, inf, -inf, inf], &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39]), "");
    }

    #[test]
    fn what_is_not_is_named_by_its_coordinates() {
        assert!(failure(&[0.0, 0.0, 1.00001, 1.0], &[0.0, 0.0, 1.0, 1.0]).starts_with("at (1, 0): "));
        assert!(failure(&[0.0, f32::NAN, 0.0, 0.0], &[0.0; 4]).starts_with("at (0, 1): NaN"));
        assert!(failure(&[0.0; 4], &[0.0, 0.0, 0.0, f64::NAN]).starts_with("at (1, 1): "));
        assert!(failure(&[0.0; 4], &[0.0, f64::INFINITY, 0.0, 0.0]).starts_with("at (0, 1): "));
        assert!(failure(&[f32::INFINITY; 4], &[f64::NEG_INFINITY; 4]).contains("4 of 4"));
        assert!(failure(&[0.0; 3], &[0.0; 4]).contains("3 elements"));
    }
}
