//! attention: out = softmax(q kᵀ/√D) v per head (Vaswani et al. 2017), without ever keeping the scores.
//!
//! Blocks of queries meet the keys they see and are done (Dao et al. 2022); only the logarithm of each
//! query's sum of exponentials stays, from which the backward pass finds its probabilities again.

use rayon::prelude::*;

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target};
use crate::engine::hash::{keep, mask_key, threshold};
use crate::engine::matrix::{Mat, MatMut, product};
use crate::engine::op::{Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect_operands, record_one};
use crate::engine::real::Real;
use crate::engine::step::Step;
use crate::engine::tensor::{Shape, Spec};
use crate::engine::twin::Io;
use crate::ops::attention_backward::AttentionBackward;
use crate::ops::heads::{batch_ranges, expect_heads};
use crate::ops::softmax::softmax_start;
use crate::shader;

pub static ATTENTION: OpInfo =
    OpInfo {
        name: "attention", formula: "out = softmax(q kᵀ/√D) v, lse = log Σ exp(q kᵀ/√D)", cases
    };

/// qkv (B, T, 3C), the queries, keys and values of all heads side by side → out (B, T, C), lse (B, n_head, T).
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub n_head: usize,
    /// A query sees no later key.
    pub causal: bool,
    /// The share of probabilities that are set to zero.
    pub dropout: f32,
    /// Tells the dropout masks of one step apart.
    pub salt: u32,
}

/// The extents of one application.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub batch: usize,
    pub time: usize,
    pub n_head: usize,
    /// D, the channels of one head.
    pub width: usize,
}

/// The dropout mask over (b, h, t, s).
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    key: u32,
    threshold: u32,
    scale: f32,
}

/// Queries that a twin takes at a time: with fewer, products waste less on keys that a query does not see;
/// with more, they run faster.
pub(super) const BLOCK: usize = 64;

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

impl Attention {
    pub(super) fn extent(&self, qkv: Shape) -> Extent {
        let dims = qkv.dims();
        Extent { batch: dims[0], time: dims[1], n_head: self.n_head, width: dims[2] / 3 / self.n_head }
    }

    /// The types of out and lse.
    pub(super) fn results(&self, qkv: Spec) -> Result<[Spec; 2], OpError> {
        expect_heads("qkv", qkv, self.n_head, 3)?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(OpError::new(format!("dropout {} is not a probability below 1", self.dropout)));
        }
        let e = self.extent(qkv.shape);
        Ok([Spec::f32([e.batch, e.time, e.channels()]), Spec::f32([e.batch, e.n_head, e.time])])
    }

    /// What scores are multiplied by.
    pub(super) fn scale(e: &Extent) -> f64 {
        1.0 / (e.width as f64).sqrt()
    }

    /// How many keys are seen by query `t`.
    #[inline(always)]
    pub(super) fn seen(&self, t: usize, time: usize) -> usize {
        if self.causal { t + 1 } else { time }
    }

    pub(super) fn mask(&self, step: &Step) -> Option<Mask> {
        (self.dropout > 0.0).then(|| Mask {
            key: mask_key(step.seed, self.salt),
            threshold: threshold(self.dropout),
            scale: 1.0 / (1.0 - self.dropout),
        })
    }

    /// What every kernel of this op is told; `first` is the first item of the batch that it is bound to.
    pub(super) fn describe(&self, dispatch: Dispatch, e: &Extent, first: usize) -> Dispatch {
        dispatch
            .constant("WIDTH", e.width as u32)
            .constant("CAUSAL", self.causal.into())
            .constant("DROPOUT", (self.dropout > 0.0).into())
            .param("first", first * e.n_head)
            .param("n_head", e.n_head)
            .param("time", e.time)
            .param("scale", Self::scale(e) as f32)
            .param("salt", self.salt)
            .param("threshold", threshold(self.dropout))
            .param("keep_scale", 1.0 / (1.0 - self.dropout))
    }

    /// Multiply-adds of one product of scores' size.
    pub(super) fn product_flops(&self, e: &Extent) -> u64 {
        let pairs = if self.causal { e.time * (e.time + 1) / 2 } else { e.time * e.time };
        2 * (e.batch * e.n_head * pairs * e.width) as u64
    }

    /// One head: its rows of `out` and `lse`.
    fn head<F: Real>(
        &self,
        e: &Extent,
        qkv: &[F],
        head: usize,
        mask: Option<Mask>,
        mut out: MatMut<F>,
        lse: &mut [F],
        scores: &mut [F],
    ) {
        let (b, h, row) = (head / e.n_head, head % e.n_head, 3 * e.channels());
        for first in (0..e.time).step_by(BLOCK) {
            let rows = BLOCK.min(e.time - first);
            let keys = self.seen(first + rows - 1, e.time);
            let q = e.view(qkv, row, [b, h, 0], [first, rows]);
            let k = e.view(qkv, row, [b, h, 1], [0, keys]);
            let v = e.view(qkv, row, [b, h, 2], [0, keys]);
            let (mut block, rest) = out.split_rows(rows);
            attend(
                &mut block,
                [q, k, v],
                [rows, keys],
                F::of(Self::scale(e)),
                scores,
                #[inline(always)]
                |i, p| {
                    let t = first + i;
                    let seen = self.seen(t, e.time);
                    lse[t] = softmax_start(p, seen);
                    if let Some(mask) = mask {
                        mask.apply(&mut p[..seen], head, t, e.time);
                    }
                },
            );
            out = rest;
        }
    }
}

/// out ← f(scale · q kᵀ) v for (rows, keys) scores, which `f` turns into probabilities row by row.
pub(super) fn attend<F: Real>(
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

impl Op for Attention {
    fn info(&self) -> &'static OpInfo {
        &ATTENTION
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        Ok(self.results(inputs[0])?.into())
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let e = self.extent(operands.in_shape(0));
        let [qkv, out, lse] = [3 * e.time * e.channels(), e.time * e.channels(), e.time * e.n_head];
        let kernel = |variant, shader, queries_per_group: usize| {
            let part = |(first, n): (usize, usize)| {
                let heads = n * e.n_head;
                self.describe(Dispatch::new(shader), &e, first)
                    .bind_part("qkv", In(0), first * qkv, n * qkv)
                    .bind_part("out", Out(0), first * out, n * out)
                    .bind_part("lse", Out(1), first * lse, n * lse)
                    .param("heads", heads)
                    .groups(heads * e.time.div_ceil(queries_per_group), target)
            };
            let ranges = batch_ranges(target, e.batch, &[qkv, out, lse]);
            Kernel::new(variant, ranges.into_iter().map(part).collect())
        };
        let plain = kernel("plain", shader!("attention/plain", "hash", "step"), 64);
        let flash = kernel("flash", shader!("attention/flash", "hash", "step", "tiles"), 64);
        variants(plain, flash, &e, target)
    }

    /// Only `out` carries a gradient: lse is kept for the derivative and for looking at.
    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let operands = [at.inputs[0], at.outputs[0], at.outputs[1], at.upstream(0)?];
        Ok(vec![Some(record_one(tape, AttentionBackward(*self), &operands)?)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let e = self.extent(operands.in_shape(0));
        Cost { flops: 2 * self.product_flops(&e), bytes: operands.bytes() }
    }
}

/// Tiles in workgroup memory pay on a GPU, up to the width whose sums still fit its registers; a rasteriser
/// on the CPU does better without them as long as it keeps a query in registers.
pub(super) fn variants(plain: Kernel, flash: Kernel, e: &Extent, target: &Target) -> Vec<Kernel> {
    match e.width {
        0..=32 if target.software => vec![flash, plain],
        0..=128 => vec![plain, flash],
        _ => vec![plain],
    }
}

impl Twin for Attention {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (qkv, mask, e) = (io.input(0), self.mask(io.step()), self.extent(io.in_shape(0)));
        let [out, lse] = io.outputs();
        MatMut::new(out, e.batch * e.time, e.channels())
            .blocks(e.time, e.width)
            .into_par_iter()
            .zip(lse.par_chunks_mut(e.time))
            .enumerate()
            .for_each_init(
                || vec![F::ZERO; BLOCK.min(e.time) * e.time],
                |scores, (head, (out, lse))| self.head(&e, qkv, head, mask, out, lse, scores),
            );
    }
}

/// (B, T, n_head, D), causal, dropout: on both sides of every tile edge (32 keys, 64 queries, 32 channels); and
/// one that small bindings can split.
pub(super) const SHAPES: [([usize; 4], bool, f32); 15] = [
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
    ([9, 8, 2, 1], true, 0.2),
];

/// A score is a sum of D products of at most M² over √D: D·M²/√D in magnitude, and rounding walks √D of its
/// units, of which most are far smaller than the largest. The same error, absolute, is the relative one of a
/// probability, to which exp adds 3 + 2|x| units where p|x| stays below 1/e. Probabilities sum to 1, so out
/// inherits it times the largest value; the sum over keys walks √T units more, and dropout scales by 1/(1-p).
pub(super) fn bound(time: usize, width: usize, largest: f64) -> Bound {
    let score = 4.0 * (width as f64).sqrt() * largest * largest;
    Bound::new(4.0, 1.25 * (2.0 * score + 16.0 + 4.0 * (time as f64).sqrt()) * largest.max(1.0))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([b, time, n_head, width], causal, dropout) in SHAPES {
        for largest in [1.0, 6.0, 1e2] {
            let op = Attention { n_head, causal, dropout, salt: 7 };
            let qkv = Spec::f32([b, time, 3 * n_head * width]);
            let case = Case::new(op, &[qkv], bound(time, width, largest.into()));
            cases.push(case.with(0, Fill::Uniform(largest)));
        }
    }
    cases
}
