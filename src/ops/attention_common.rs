//! What the attention ops share: extents, the mask of dropout, the steps of a block, cases and bounds.

use crate::engine::case::Bound;
use crate::engine::dispatch::{Kernel, Target};
use crate::engine::hash::{keep, mask_key, threshold};
use crate::engine::matrix::{Mat, MatMut, product};
use crate::engine::real::Real;

/// The extents of one application.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub batch: usize,
    pub time: usize,
    pub n_head: usize,
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
    pub fn channels(&self) -> usize {
        self.n_head * self.width
    }

    /// Columns of head `head`, from column `part · C` on, of rows `first..first + rows` of item `b` of x, whose
    /// rows are `row` wide.
    pub fn view<'a, F: Real>(
        &self,
        x: &'a [F],
        row: usize,
        [b, head, part]: [usize; 3],
        [first, rows]: [usize; 2],
    ) -> Mat<'a, F> {
        let start = (b * self.time + first) * row + part * self.channels() + head * self.width;
        Mat::strided(&x[start..], rows, self.width, row)
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

    /// Drops or scales what stands at keys 0, 1, … of query `t` of head `head` of all.
    #[inline(always)]
    pub fn apply<F: Real>(self, row: &mut [F], head: usize, t: usize, time: usize) {
        // Indices wrap at 2³², as in the shader: only their hash matters.
        let start = ((head * time + t) * time) as u32;
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

/// (B, T, n_head, D), causal, dropout: on both sides of every tile edge (32 keys, 64 queries, 32 channels); and
/// one that small bindings can split.
pub const SHAPES: [([usize; 4], bool, f32); 15] = [
    ([1, 1, 1, 1], true, 0.0),
    ([2, 1, 3, 5], true, 0.2),
    ([1, 2, 1, 1], false, 0.0),
    ([3, 7, 2, 3], true, 0.0),
    ([1, 31, 1, 33], true, 0.0),
    ([1, 33, 2, 31], false, 0.0),
    ([2, 63, 1, 7], true, 0.2),
    ([1, 64, 4, 32], true, 0.0),
    ([1, 65, 1, 64], true, 0.0),
    ([2, 67, 2, 16], false, 0.2),
    ([1, 97, 1, 100], true, 0.0),
    ([1, 131, 1, 8], true, 0.2),
    ([1, 129, 1, 128], false, 0.0),
    ([1, 5, 1, 131], true, 0.0),
    ([11, 8, 4, 1], true, 0.2),
];

/// A score is a sum of D products of at most M² over √D: D·M²/√D in magnitude, and rounding walks √D of its
/// units, of which most are far smaller than the largest. The same error, absolute, is the relative one of a
/// probability, to which exp adds 3 + 2|x| units where p|x| stays below 1/e. Probabilities sum to 1, so out
/// inherits it times the largest value; the sum over keys walks √T units more, and dropout scales by 1/(1-p).
pub fn bound(time: usize, width: usize, largest: f64) -> Bound {
    let score = 4.0 * (width as f64).sqrt() * largest * largest;
    Bound::new(4.0, 1.25 * (2.0 * score + 16.0 + 4.0 * (time as f64).sqrt()) * largest.max(1.0))
}
