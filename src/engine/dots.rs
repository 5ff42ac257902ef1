//! Many dot products with one vector: all that decoding a token is made of, and bound by memory alone.

use pulp::{Arch, Simd, WithSimd};

use super::real::Real;

/// y_j ← x · column(j) for all j, over f32.
///
/// # Panics
/// When a column is shorter than `x`.
pub fn dots_f32<'a>(x: &'a [f32], column: impl Fn(usize) -> &'a [f32], y: &'a mut [f32]) {
    Arch::new().dispatch(Dots { x, column, y });
}

/// As [`dots_f32`], in plain loops over any number.
pub fn dots_plain<'a, F: Real>(x: &[F], column: impl Fn(usize) -> &'a [F], y: &mut [F]) {
    for (j, y) in y.iter_mut().enumerate() {
        *y = x.iter().zip(column(j)).map(|(&x, &c)| x * c).sum();
    }
}

struct Dots<'a, C> {
    x: &'a [f32],
    column: C,
    y: &'a mut [f32],
}

/// Columns at a time: as many independent sums as hide the latency of an addition.
const BLOCK: usize = 8;

impl<'a, C: Fn(usize) -> &'a [f32]> WithSimd for Dots<'a, C> {
    type Output = ();

    /// Written with vectors by hand: compilers find them in some forms of these loops and not in others.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, x_rest) = S::as_simd_f32s(self.x);
        let Some(last) = self.y.len().checked_sub(1) else { return };
        for (block, y) in self.y.chunks_mut(BLOCK).enumerate() {
            // The last block repeats its last column rather than having code of its own.
            let columns: [_; BLOCK] = std::array::from_fn(|n| {
                let column = (self.column)((block * BLOCK + n).min(last));
                S::as_simd_f32s(&column[..self.x.len()])
            });
            let mut sums = [simd.splat_f32s(0.0); BLOCK];
            for (i, &x) in x.iter().enumerate() {
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    *sum = simd.mul_add_f32s(x, column.0[i], *sum);
                }
            }
            for ((y, sum), column) in y.iter_mut().zip(sums).zip(&columns) {
                let rest: f32 = x_rest.iter().zip(column.1).map(|(x, c)| x * c).sum();
                *y = simd.reduce_sum_f32s(sum) + rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_precisions_agree_for_odd_lengths() {
        for (k, n) in [(1, 1), (3, 9), (37, 17), (128, 65), (511, 8)] {
            let number = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - 1.0;
            let (x, w): (Vec<_>, Vec<_>) = ((0..k).map(number).collect(), (0..k * n).map(number).collect());
            let mut y = vec![f32::NAN; n];
            dots_f32(&x, |j| &w[j * k..][..k], &mut y);
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (x, w, mut want) = (wide(&x), wide(&w), vec![f64::NAN; n]);
            dots_plain(&x, |j| &w[j * k..][..k], &mut want);
            for (got, want) in y.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-6 * k as f64, "{k} {n}: {got} {want}");
            }
        }
    }
}
