//! What the attention ops share: extents, the mask of dropout, the steps of a block.

use std::ops::Range;

use crate::engine::hash::{keep, mask_key, threshold};
use crate::engine::matrix::{Mat, MatMut, product};
use crate::ops::prelude::*;

/// The extents of one application.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub batch: usize,
    pub time: usize,
    pub n_head: usize,
    /// Heads of keys and values; n_head / n_kv_head heads of queries share one.
    pub n_kv_head: usize,
    /// D, the channels of one head.
    pub width: usize,
}

/// The dropout mask over (b, h, t, s).
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    key: u32,
    threshold: u32,
    scale: f32,
}

/// Queries that a twin takes at a time: with fewer, products waste less on keys that a query does not see;
/// with more, they run faster.
pub const BLOCK: usize = 64;

impl Extent {
    /// Elements of a row of out.
    pub fn channels(&self) -> usize {
        self.n_head * self.width
    }

    /// Elements of a row of qkv.
    pub fn row(&self) -> usize {
        (self.n_head + 2 * self.n_kv_head) * self.width
    }

    /// Heads of queries that share a key and a value.
    pub fn group(&self) -> usize {
        self.n_head / self.n_kv_head
    }

    /// The places in a row of qkv, in heads, of the keys and the values that head `h` sees.
    pub fn shared(&self, h: usize) -> [usize; 2] {
        let key = self.n_head + h / self.group();
        [key, key + self.n_kv_head]
    }

    /// The head at place `at` of a row, of some rows of item `b` of x, whose rows are `row` wide.
    pub fn view<'a, F: Real>(
        &self,
        x: &'a [F],
        row: usize,
        [b, at]: [usize; 2],
        rows: &Range<usize>,
    ) -> Mat<'a, F> {
        let start = (b * self.time + rows.start) * row + at * self.width;
        Mat::strided(&x[start..], rows.len(), self.width, row)
    }
}

/// out ← f(scale · q kᵀ) v for (rows, keys) scores, which `f` turns into probabilities row by row.
pub fn attend<F: Real>(
    out: &mut MatMut<F>,
    [q, k, v]: [Mat<F>; 3],
    [rows, keys]: [usize; 2],
    scale: F,
    scores: &mut [F],
    mut f: impl FnMut(usize, &mut [F]),
) {
    let scores = &mut scores[..rows * keys];
    product(&mut MatMut::new(scores, rows, keys), false, scale, q, k.t());
    // The closure must consume what it walks: only as an `FnOnce` is it inlined where it vectorises.
    let queries = scores.chunks_exact_mut(keys).enumerate();
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (i, p) in queries {
                f(i, p);
            }
        },
    );
    product(out, false, F::ONE, Mat::new(scores, rows, keys), v);
}

impl Mask {
    /// The mask of an op in a step; `None` when nothing is dropped.
    pub fn new(p: f32, seed: u32, salt: u32) -> Option<Self> {
        let mask = || Self { key: mask_key(seed, salt), threshold: threshold(p), scale: 1.0 / (1.0 - p) };
        (p > 0.0).then(mask)
    }

    /// Drops or scales the elements at keys `first`, `first` + 1, … of query `t` of head `head` of all.
    #[inline(always)]
    pub fn apply<F: Real>(self, row: &mut [F], head: usize, [t, first]: [usize; 2], time: usize) {
        // Indices wrap at 2³², as in the shader: only their hash matters.
        let start = ((head * time + t) * time + first) as u32;
        let scale = F::of(self.scale.into());
        for (s, x) in row.iter_mut().enumerate() {
            let kept = keep(self.key, start.wrapping_add(s as u32), self.threshold);
            *x = if kept { *x * scale } else { F::ZERO };
        }
    }
}

/// Tiles in workgroup memory pay on a GPU, up to the width whose sums still fit its registers; a rasteriser
/// on the CPU does better without them as long as it keeps a query in registers.
pub fn variants(plain: Kernel, flash: Kernel, e: &Extent, target: &Target) -> Vec<Kernel> {
    match e.width {
        0..=32 if target.software => vec![flash, plain],
        0..=128 => vec![plain, flash],
        _ => vec![plain],
    }
}
