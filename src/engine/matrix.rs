//! Strided matrix views and their product, for the twins.
//!
//! The product goes to the `gemm` crates, which pack for the processor at hand; this file only proves to the
//! compiler that concurrent writers never overlap.

use std::any::TypeId;
use std::marker::PhantomData;

use gemm_common::Parallelism;

use super::real::Real;

/// A read-only matrix view.
#[derive(Clone, Copy)]
pub struct Mat<'a, F> {
    data: *const F,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    life: PhantomData<&'a F>,
}

/// A writable matrix view of row-major memory.
pub struct MatMut<'a, F> {
    data: *mut F,
    rows: usize,
    cols: usize,
    row_stride: usize,
    life: PhantomData<&'a mut F>,
}

// SAFETY: a view is a borrow of a slice, and slices of `Real` may cross threads.
unsafe impl<F: Real> Send for Mat<'_, F> {}
// SAFETY: as above; shared views only read.
unsafe impl<F: Real> Sync for Mat<'_, F> {}
// SAFETY: a writable view is a unique borrow of its elements.
unsafe impl<F: Real> Send for MatMut<'_, F> {}

/// Whether a slice of this length holds a matrix from its first element to its last: what all `unsafe` here rests on,
/// so that extents whose product wraps must not pass.
fn fits(length: usize, rows: usize, row_stride: usize, cols: usize) -> bool {
    let Some(above) = rows.checked_sub(1) else { return true };
    above.checked_mul(row_stride).and_then(|last| last.checked_add(cols)).is_some_and(|end| end <= length)
}

impl<'a, F: Real> Mat<'a, F> {
    /// A row-major (rows, cols) matrix.
    ///
    /// # Panics
    /// When the slice is too short.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A (rows, cols) matrix whose rows begin `row_stride` elements apart: some columns of a wider one.
    ///
    /// # Panics
    /// When the slice is too short or rows would overlap.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            cols <= row_stride && fits(data.len(), rows, row_stride, cols),
            "a matrix longer than its memory"
        );
        Self { data: data.as_ptr(), rows, cols, row_stride, col_stride: 1, life: PhantomData }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn row_range(self, first: usize, rows: usize) -> Self {
        assert!(first <= self.rows && rows <= self.rows - first);
        // The offset is computed without touching memory: an empty range may lie past the end.
        Self { data: self.data.wrapping_add(first * self.row_stride), rows, ..self }
    }
}

impl<'a, F: Real> MatMut<'a, F> {
    /// A row-major (rows, cols) matrix.
    ///
    /// # Panics
    /// When the slice is too short.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        assert!(fits(data.len(), rows, cols, cols), "a matrix longer than its memory");
        Self { data: data.as_mut_ptr(), rows, cols, row_stride: cols, life: PhantomData }
    }

    /// Cuts into the first `cols` columns and the rest.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn split_cols(self, cols: usize) -> (Self, Self) {
        assert!(cols <= self.cols);
        // Both halves keep the row stride and share no column.
        let right = self.data.wrapping_add(cols);
        (
            Self { cols, life: PhantomData, ..self },
            Self { data: right, cols: self.cols - cols, life: PhantomData, ..self },
        )
    }

    /// Cuts into the first `rows` rows and the rest.
    ///
    /// # Panics
    /// When there are fewer rows.
    pub fn split_rows(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.rows);
        // The offset is computed without touching memory: an empty rest may lie past the end.
        let lower = self.data.wrapping_add(rows * self.row_stride);
        (
            Self { rows, life: PhantomData, ..self },
            Self { data: lower, rows: self.rows - rows, life: PhantomData, ..self },
        )
    }

    /// Cuts rows into blocks of `rows`, and each block's columns into blocks of `cols`, row of blocks by row.
    pub fn blocks(self, rows: usize, cols: usize) -> Vec<Self> {
        let mut blocks = Vec::with_capacity((self.rows / rows) * (self.cols / cols));
        let mut below = self;
        while below.rows > 0 {
            let (mut right, rest) = below.split_rows(rows);
            below = rest;
            while right.cols > 0 {
                let (block, rest) = right.split_cols(cols);
                blocks.push(block);
                right = rest;
            }
        }
        blocks
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&mut self, i: usize) -> &mut [F] {
        let [row] = self.some_rows(i);
        row
    }

    /// R rows from `first` on.
    fn some_rows<const R: usize>(&mut self, first: usize) -> [&mut [F]; R] {
        assert!(R <= self.rows && first <= self.rows - R);
        // SAFETY: rows of `cols` elements begin `row_stride` apart inside the borrowed slice, so they do not overlap.
        let row = |i: usize| unsafe {
            std::slice::from_raw_parts_mut(self.data.add((first + i) * self.row_stride), self.cols)
        };
        std::array::from_fn(row)
    }

    fn shorter(&mut self) -> MatMut<'_, F> {
        MatMut { life: PhantomData, ..*self }
    }
}

/// C ← scale · A·B + keep · C on the calling thread, where `keep` is 0 or 1. C is not read when it is 0.
///
/// # Panics
/// When the shapes do not fit.
pub fn product<F: Real>(c: &mut MatMut<F>, keep: bool, scale: F, a: Mat<F>, b: Mat<F>) {
    assert!(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows, "shapes of a product");
    let few = a.rows == 1 || is::<F, f32>() && a.rows <= FEW && a.cols >= LONG;
    if few && !keep && a.col_stride == 1 && b.row_stride == 1 && b.col_stride >= b.rows {
        return dots_product(c, scale, a, b);
    }
    let Some(gemm) = F::gemm() else { return loop_product(c, keep, scale, a, b) };
    // Its kernels want columns of C side by side: they get Cᵀ ← Bᵀ·Aᵀ.
    // SAFETY: the views' constructors checked that every index lies within the borrowed slices, C is
    // borrowed uniquely, and strides are in elements.
    unsafe {
        gemm(
            c.cols,
            c.rows,
            a.cols,
            c.data,
            c.row_stride as isize,
            1,
            keep,
            b.data,
            b.row_stride as isize,
            b.col_stride as isize,
            a.data,
            a.row_stride as isize,
            a.col_stride as isize,
            F::ONE,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Up to so many rows are products of vectors that are at least so long: `gemm` would pack the other matrix first,
/// which takes longer than the product.
const FEW: usize = 32;
const LONG: usize = 64;

/// The product of contiguous rows of A with contiguous columns of B.
fn dots_product<F: Real>(c: &mut MatMut<F>, scale: F, a: Mat<F>, b: Mat<F>) {
    // SAFETY: row `i` of `a` is `a.cols` contiguous elements, for `i` below the number of rows.
    let row = |i: usize| unsafe { std::slice::from_raw_parts(a.data.add(i * a.row_stride), a.cols) };
    // SAFETY: column `j` of `b` is `b.rows` contiguous elements; `dots` asks for those below the number of outputs.
    let column = |j: usize| unsafe { std::slice::from_raw_parts(b.data.add(j * b.col_stride), b.rows) };
    const BLOCK: usize = 4;
    let blocks = c.rows - c.rows % BLOCK;
    for i in (0..blocks).step_by(BLOCK) {
        F::dots::<BLOCK>(std::array::from_fn(|r| row(i + r)), column, c.some_rows(i));
    }
    for i in blocks..c.rows {
        F::dots([row(i)], column, [c.row(i)]);
    }
    (0..c.rows).for_each(|i| c.row(i).iter_mut().for_each(|y| *y *= scale));
}

fn is<F: 'static, G: 'static>() -> bool {
    TypeId::of::<F>() == TypeId::of::<G>()
}

/// The product as its formula says, for numbers that no library knows.
fn loop_product<F: Real>(c: &mut MatMut<F>, keep: bool, scale: F, a: Mat<F>, b: Mat<F>) {
    // SAFETY: the constructors checked that every index lies within the borrowed slices.
    let at = |m: Mat<F>, i: usize, j: usize| unsafe { *m.data.add(i * m.row_stride + j * m.col_stride) };
    for i in 0..c.rows {
        for (j, out) in c.row(i).iter_mut().enumerate() {
            let sum = scale * (0..a.cols).map(|l| at(a, i, l) * at(b, l, j)).sum();
            *out = if keep { *out + sum } else { sum };
        }
    }
}

/// As [`product`], shared among the CPU pool: by rows of C, or by columns when there are few rows.
pub fn par_product<F: Real>(c: MatMut<F>, keep: bool, scale: F, a: Mat<F>, b: Mat<F>) {
    // Below this many multiply-adds another core does not pay; a row times a matrix only streams it.
    let least = if c.rows == 1 { 1 << 17 } else { 1 << 16 };
    let threads = rayon::current_num_threads();
    divide(c, keep, scale, a, b, threads, least);
}

fn divide<F: Real>(mut c: MatMut<F>, keep: bool, scale: F, a: Mat<F>, b: Mat<F>, parts: usize, least: usize) {
    if parts < 2 || c.rows * c.cols * a.cols < 2 * least {
        return product(&mut c.shorter(), keep, scale, a, b);
    }
    // A core's share is a multiple of the kernels' tile, or it would waste part of one.
    const TILE: usize = 16;
    let first = parts / 2;
    let share = |n: usize| (n * first / parts).next_multiple_of(TILE).min(n);
    if c.rows >= c.cols {
        let at = share(c.rows);
        let (upper, lower) = c.split_rows(at);
        rayon::join(
            || divide(upper, keep, scale, a.row_range(0, at), b, first, least),
            || divide(lower, keep, scale, a.row_range(at, a.rows - at), b, parts - first, least),
        );
    } else {
        let at = share(c.cols);
        let (left, right) = c.split_cols(at);
        let by_cols = b.t();
        rayon::join(
            || divide(left, keep, scale, a, by_cols.row_range(0, at).t(), first, least),
            || {
                let rest = by_cols.row_range(at, by_cols.rows - at).t();
                divide(right, keep, scale, a, rest, parts - first, least);
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(
        m: usize,
        n: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f64,
        b: impl Fn(usize, usize) -> f64,
    ) -> Vec<f64> {
        (0..m * n).map(|i| (0..k).map(|l| a(i / n, l) * b(l, i % n)).sum()).collect()
    }

    #[test]
    fn the_product_equals_the_loops_for_every_layout() {
        let number = |i: usize| ((i * 7919) % 101) as f64 / 50.0 - 1.0;
        for (m, n, k) in [
            (1, 1, 1),
            (1, 70, 33),
            (65, 3, 17),
            (3, 129, 64),
            (96, 96, 64),
            (1, 600, 700),
            (7, 130, 65),
            (32, 20, 99),
        ] {
            let x: Vec<f64> = (0..m * k).map(number).collect();
            let y: Vec<f64> = (0..k * n).map(|i| number(i + 13)).collect();
            for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
                let a = if ta { Mat::new(&x, k, m).t() } else { Mat::new(&x, m, k) };
                let b = if tb { Mat::new(&y, n, k).t() } else { Mat::new(&y, k, n) };
                let want = loops(
                    m,
                    n,
                    k,
                    |i, l| if ta { x[l * m + i] } else { x[i * k + l] },
                    |l, j| if tb { y[j * k + l] } else { y[l * n + j] },
                );
                let mut c = vec![1.0; m * n];
                par_product(MatMut::new(&mut c, m, n), true, 2.0, a, b);
                for (got, want) in c.iter().zip(&want) {
                    assert!((got - 1.0 - 2.0 * want).abs() < 1e-12 * k as f64, "{m} {n} {k} {ta} {tb}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_to_the_bit_beside_others() {
        let number = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - 1.0;
        let (m, n, k) = (7, 21, 130);
        let x: Vec<f32> = (0..m * k).map(number).collect();
        let w: Vec<f32> = (0..n * k).map(|i| number(i + 13)).collect();
        let (mut all, mut alone) = (vec![f32::NAN; m * n], vec![f32::NAN; n]);
        product(&mut MatMut::new(&mut all, m, n), false, 0.5, Mat::new(&x, m, k), Mat::new(&w, n, k).t());
        for (x, all) in x.chunks(k).zip(all.chunks(n)) {
            product(
                &mut MatMut::new(&mut alone, 1, n),
                false,
                0.5,
                Mat::new(x, 1, k),
                Mat::new(&w, n, k).t(),
            );
            assert_eq!(alone, all);
        }
    }

    #[test]
    fn extents_that_wrap_are_no_matrix() {
        let refused = |make: fn() -> usize| std::panic::catch_unwind(make).is_err();
        // 2⁶² · 4 is 0 in 64 bits, and (2⁶² + 1) · 4 is 4.
        assert!(refused(|| Mat::new(&[0f32; 4], 1 << 62, 4).rows));
        assert!(refused(|| Mat::new(&[0f32; 4], (1 << 62) + 1, 4).rows));
        assert!(refused(|| Mat::new(&[0f32; 4], 4, 1 << 62).rows));
        assert!(refused(|| MatMut::new(&mut [0f32; 4], (1 << 62) + 1, 4).rows));
        assert!(refused(|| Mat::new(&[0f32; 4], 2, 2).row_range(1, usize::MAX).rows));
        assert!(!refused(|| Mat::new(&[0f32; 4], 0, 1 << 62).rows));
    }

    #[test]
    fn blocks_tile_the_matrix() {
        let mut x = vec![0f32; 6 * 8];
        for (i, mut block) in MatMut::new(&mut x, 6, 8).blocks(3, 4).into_iter().enumerate() {
            (0..3).for_each(|row| block.row(row).fill(i as f32));
        }
        assert_eq!([x[0], x[4], x[3 * 8], x[3 * 8 + 7]], [0.0, 1.0, 2.0, 3.0]);
    }
}
