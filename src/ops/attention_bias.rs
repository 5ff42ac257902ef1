//! What attention does to the scores of a query besides scaling them: ALiBi's penalties of distance, a window, and the
//! walls between packed sequences.

use crate::ops::prelude::*;
use std::ops::Range;

/// The largest power of two up to the number of heads.
pub fn alibi_heads(n_head: usize) -> usize {
    1 << n_head.ilog2()
}

/// log₂ of the ratio between slopes half a step apart.
pub fn alibi_step(n_head: usize) -> f32 {
    -4.0 / alibi_heads(n_head) as f32
}

/// ALiBi's slope of head `h`: 2^(-8(h + 1)/n), with n the largest power of two up to `n_head`; heads from n on
/// take the steps halfway between, from the first (Press et al. 2022).
///
/// It is an exponential so that a bound derived from it allows for adapters whose exp2 is a few units off.
pub fn alibi_slope<F: Real>(n_head: usize, h: usize) -> F {
    let n = alibi_heads(n_head);
    let halves = if h < n { 2 * h + 2 } else { 2 * (h - n) + 1 };
    (F::of(halves as f64 * f64::from(alibi_step(n_head))) * F::of(std::f64::consts::LN_2)).exp()
}

/// What changes the scores of the queries of one head.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, F> {
    /// What each position between query and key takes from a score.
    slope: Option<F>,
    /// The keys that a query sees, its own the last; 0 for all.
    window: usize,
    /// The segments of the item's tokens: a query sees only its own.
    segments: Option<&'a [u32]>,
}

/// The score of a key that is not seen: its exponential is 0, whatever is subtracted from it.
const UNSEEN: f64 = f32::MIN as f64;

impl<'a, F: Real> Bias<'a, F> {
    pub fn new(alibi: bool, [n_head, h]: [usize; 2], window: usize, segments: Option<&'a [u32]>) -> Self {
        Self { slope: alibi.then(|| alibi_slope(n_head, h)), window, segments }
    }

    /// The shortest range of keys, of those before `seen`, that holds all which `queries` see.
    pub fn keys(self, queries: Range<usize>, seen: usize) -> Range<usize> {
        let start = self.first(queries.start);
        let Some(segments) = self.segments else { return start..seen };
        let is_seen = |segment: &u32| segments[queries.clone()].contains(segment);
        let keys = &segments[start..seen];
        let first = keys.iter().position(is_seen).unwrap_or(0);
        let last = keys.iter().rposition(is_seen).unwrap_or(first);
        start + first..start + last + 1
    }

    /// The first key that is in the window of query `t`.
    pub fn first(self, t: usize) -> usize {
        if self.window == 0 { 0 } else { (t + 1).saturating_sub(self.window) }
    }

    /// Changes the scores of query `t` and keys `first`, `first` + 1, ….
    #[inline(always)]
    pub fn apply(self, t: usize, first: usize, scores: &mut [F]) {
        if let Some(slope) = self.slope {
            for (s, score) in (first..).zip(scores.iter_mut()) {
                *score -= slope * F::of((t as i32 - s as i32).abs().into());
            }
        }
        let outside = self.first(t).saturating_sub(first);
        scores[..outside].fill(F::of(UNSEEN));
        if let Some(segments) = self.segments {
            for (score, &segment) in scores.iter_mut().zip(&segments[first..]) {
                *score = if segment == segments[t] { *score } else { F::of(UNSEEN) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_slopes` of the paper's own code prints them.
    #[test]
    fn slopes_are_the_papers() {
        let slopes = |n| (0..n).map(|h| alibi_slope::<f64>(n, h)).collect::<Vec<_>>();
        let near = |n: usize, want: &[f64]| {
            let got = slopes(n);
            assert_eq!(got.len(), want.len());
            assert!(got.iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-12 * y), "{n} heads: {got:?}");
        };
        near(1, &[1.0 / 256.0]);
        near(2, &[1.0 / 16.0, 1.0 / 256.0]);
        near(3, &[0.0625, 0.003_906_25, 0.25]);
        near(8, &[0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        let half = std::f64::consts::FRAC_1_SQRT_2;
        near(12, &[slopes(8), vec![half, half / 2.0, half / 4.0, half / 8.0]].concat());
    }
}
