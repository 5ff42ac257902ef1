//! Many dot products with one vector or a few: all that decoding a token, or one of each of a few streams, is made of.

use pulp::{Arch, Simd, WithSimd};

/// y_rj ← x_r · column(j) for all r and j, over f32. A sum does not depend on how many rows there are.
///
/// # Panics
/// When a column or a row is shorter than `x[0]`.
pub fn dots_f32<'a, const R: usize>(
    x: [&'a [f32]; R],
    column: impl Fn(usize) -> &'a [f32],
    y: [&mut [f32]; R],
) {
    // As many independent sums as hide the latency of an addition, and as registers hold.
    match R {
        1 => Arch::new().dispatch(Dots::<_, R, 8> { x, column, y }),
        _ => Arch::new().dispatch(Dots::<_, R, 4> { x, column, y }),
    }
}

/// C columns at a time.
struct Dots<'a, 'b, T, const R: usize, const C: usize> {
    x: [&'a [f32]; R],
    column: T,
    y: [&'b mut [f32]; R],
}

impl<'a, T: Fn(usize) -> &'a [f32], const R: usize, const C: usize> WithSimd for Dots<'a, '_, T, R, C> {
    type Output = ();

    /// Written with vectors by hand: compilers find them in some forms of these loops and not in others.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, column, mut y } = self;
        let (length, n) = (x[0].len(), y[0].len());
        let rows = x.map(|x| S::as_simd_f32s(&x[..length]));
        for first in (0..n).step_by(C) {
            // The last block repeats its last column rather than having code of its own.
            let columns: [_; C] =
                std::array::from_fn(|c| S::as_simd_f32s(&column((first + c).min(n - 1))[..length]));
            let mut sums = [[simd.splat_f32s(0.0); C]; R];
            for i in 0..rows[0].0.len() {
                let columns = columns.map(|column| column.0[i]);
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = simd.mul_add_f32s(row.0[i], column, *sum);
                    }
                }
            }
            for ((y, sums), row) in y.iter_mut().zip(sums).zip(&rows) {
                for ((y, sum), column) in y[first..].iter_mut().zip(sums).zip(&columns) {
                    let rest: f32 = row.1.iter().zip(column.1).map(|(x, c)| x * c).sum();
                    *y = simd.reduce_sum_f32s(sum) + rest;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::real::Real;

    #[test]
    fn both_precisions_agree_for_odd_lengths_and_any_number_of_rows() {
        for (k, n) in [(1, 1), (3, 9), (37, 17), (128, 65), (511, 8)] {
            let number = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - 1.0;
            let x: [Vec<f32>; 3] = std::array::from_fn(|r| (r * k..r * k + k).map(number).collect());
            let w: Vec<f32> = (0..k * n).map(number).collect();
            let mut y: [Vec<f32>; 3] = std::array::from_fn(|_| vec![f32::NAN; n]);
            dots_f32(
                x.each_ref().map(Vec::as_slice),
                |j| &w[j * k..][..k],
                y.each_mut().map(Vec::as_mut_slice),
            );
            let mut alone = vec![f32::NAN; n];
            dots_f32([&x[1]], |j| &w[j * k..][..k], [&mut alone]);
            assert_eq!(alone, y[1], "{k} {n}");
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let w = wide(&w);
            for (x, y) in x.iter().zip(&y) {
                let mut want = vec![f64::NAN; n];
                f64::dots([&wide(x)], |j| &w[j * k..][..k], [&mut want]);
                for (got, want) in y.iter().zip(&want) {
                    assert!((f64::from(*got) - want).abs() < 1e-6 * k as f64, "{k} {n}: {got} {want}");
                }
            }
        }
    }
}
