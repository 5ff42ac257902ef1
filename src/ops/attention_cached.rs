//! attention_cached: attention of new tokens to themselves and to all before them, whose keys and values are
//! kept. Decoding a token costs one row of every product instead of all of them.

use rayon::prelude::*;

use crate::engine::case::{Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target};
use crate::engine::matrix::{Mat, MatMut};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::ops::attention_bias::{Bias, alibi_heads, alibi_step};
use crate::ops::attention_cases::bound;
use crate::ops::attention_common::{BLOCK, attend};
use crate::ops::heads::expect_grouped;
use crate::ops::softmax::softmax_start;
use crate::shader;

pub static ATTENTION_CACHED: OpInfo = OpInfo {
    name: "attention_cached",
    formula: "keys, values ← k, v at position.., out = softmax(q keysᵀ/√D) values",
    cases,
};

/// qkv (1, n, (n_head + 2 n_kv_head)·D) of n new tokens, keys (T_max, n_kv_head·D), values as keys → out
/// (1, n, n_head·D), and keys and values in place.
///
/// New token i stands at the step's `position` + i; whoever sets it keeps `position` + n within T_max.
#[derive(Clone, Copy, Debug)]
pub struct AttentionCached {
    pub n_head: usize,
    /// Heads of keys and values, each shared by n_head / n_kv_head heads of queries.
    pub n_kv_head: usize,
    /// Scores sink with distance, each head's by its own slope (Press et al. 2022).
    pub alibi: bool,
}

/// The CPU's view of one application, after the new keys and values were stored.
struct Cache<'a, F> {
    op: AttentionCached,
    keys: &'a [F],
    values: &'a [F],
    /// D.
    width: usize,
    position: usize,
    scale: F,
}

impl<'a, F: Real> Cache<'a, F> {
    /// Elements of a row of keys.
    fn channels(&self) -> usize {
        self.op.n_kv_head * self.width
    }

    fn bias(&self, head: usize) -> Bias<'static, F> {
        Bias::new(self.op.alibi, [self.op.n_head, head], None)
    }

    /// One new token: its scores are too few for products of matrices to pay. The cache is read row by row,
    /// all heads of a row at once, as it lies in memory.
    fn decode(&self, q: &[F], out: &mut [F]) {
        let (seen, width) = (self.position + 1, self.width);
        let shared = self.op.n_head / self.op.n_kv_head * width;
        let mut scores = vec![F::ZERO; q.len() / width * seen];
        out.fill(F::ZERO);
        let rows = |x: &'a [F]| x.chunks_exact(self.channels()).take(seen).enumerate();
        // The closure must consume what it walks: only as an `FnOnce` is it inlined where it vectorises.
        let (keys, values) = (rows(self.keys), rows(self.values));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (s, k) in keys {
                    let mut at = s;
                    for (q, k) in q.chunks_exact(shared).zip(k.chunks_exact(width)) {
                        for q in q.chunks_exact(width) {
                            scores[at] = self.scale * dot(q, k);
                            at += seen;
                        }
                    }
                }
                for (h, p) in scores.chunks_exact_mut(seen).enumerate() {
                    self.bias(h).apply(self.position, p);
                    softmax_start(p, seen);
                }
                for (s, v) in values {
                    let mut at = s;
                    for (out, v) in out.chunks_exact_mut(shared).zip(v.chunks_exact(width)) {
                        for out in out.chunks_exact_mut(width) {
                            let p = scores[at];
                            at += seen;
                            for (out, &v) in out.iter_mut().zip(v) {
                                *out = p.fma(v, *out);
                            }
                        }
                    }
                }
            },
        );
    }

    /// One head of n new tokens.
    fn prefill(&self, qkv: &[F], n: usize, head: usize, mut out: MatMut<F>, scores: &mut [F]) {
        let column = head / (self.op.n_head / self.op.n_kv_head) * self.width;
        let (bias, row) = (self.bias(head), qkv.len() / n);
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let keys = self.position + first + rows;
            let q = Mat::strided(&qkv[first * row + head * self.width..], rows, self.width, row);
            let k = Mat::strided(&self.keys[column..], keys, self.width, self.channels());
            let v = Mat::strided(&self.values[column..], keys, self.width, self.channels());
            let (mut block, rest) = out.split_rows(rows);
            attend(
                &mut block,
                [q, k, v],
                [rows, keys],
                self.scale,
                scores,
                #[inline(always)]
                |i, p| {
                    let t = self.position + first + i;
                    bias.apply(t, &mut p[..=t]);
                    softmax_start(p, t + 1);
                },
            );
            out = rest;
        }
    }
}

/// The sum of products, in eight running sums so that it vectorises.
#[inline(always)]
fn dot<F: Real>(x: &[F], y: &[F]) -> F {
    let mut sums = [F::ZERO; 8];
    let (x_chunks, x_rest) = x.as_chunks::<8>();
    let (y_chunks, y_rest) = y.as_chunks::<8>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for i in 0..8 {
            sums[i] = x[i].fma(y[i], sums[i]);
        }
    }
    let rest: F = x_rest.iter().zip(y_rest).map(|(&x, &y)| x * y).sum();
    let [a, b, c, d, e, f, g, h] = sums;
    (((a + e) + (b + f)) + ((c + g) + (d + h))) + rest
}

impl Op for AttentionCached {
    fn info(&self) -> &'static OpInfo {
        &ATTENTION_CACHED
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let width = expect_grouped("qkv", inputs[0], self.n_head, self.n_kv_head)?;
        let (batch, n) = (inputs[0].shape.dims()[0], inputs[0].shape.dims()[1]);
        let room = inputs[1].shape.rows();
        if batch != 1 || n > room {
            return Err(OpError::new(format!("operand `qkv` is {}, not (1, n ≤ {room}, …)", inputs[0])));
        }
        expect("keys", inputs[1], Spec::f32([room, self.n_kv_head * width]))?;
        expect("values", inputs[2], inputs[1])?;
        Ok(vec![Spec::f32([1, n, self.n_head * width]), inputs[1], inputs[2]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(1, 1), (2, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (qkv, channels) = (operands.in_shape(0), operands.out_shape(1).width());
        let (n, width) = (qkv.dims()[1], channels / self.n_kv_head);
        Kernel::plain(vec![
            Dispatch::new(shader!("attention_cached/store", "step"))
                .bind("qkv", In(0))
                .bind("keys", Out(1))
                .bind("values", Out(2))
                .param("len", n * channels)
                .param("row", qkv.width())
                .param("channels", channels)
                .groups((n * channels).div_ceil(64), target),
            Dispatch::new(shader!("attention_cached/attend", "reduce", "step", "alibi"))
                .constant("WIDTH", width as u32)
                .constant("ALIBI", self.alibi.into())
                .bind("qkv", In(0))
                .bind("keys", Out(1))
                .bind("values", Out(2))
                .bind("out", Out(0))
                .param("n", n)
                .param("n_head", self.n_head)
                .param("n_kv_head", self.n_kv_head)
                .param("alibi_heads", alibi_heads(self.n_head))
                .param("alibi_step", alibi_step(self.n_head))
                .param("scale", 1.0 / (width as f32).sqrt())
                .groups(n * self.n_head, target),
        ])
    }

    /// As at the last position: what it costs before depends on the step.
    fn cost(&self, operands: &Operands) -> Cost {
        let (out, room) = (operands.out_shape(0).len(), operands.in_shape(1).rows());
        Cost { flops: 4 * (out * room) as u64, bytes: operands.bytes() }
    }
}

impl Twin for AttentionCached {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (qkv, n, row) = (io.input(0), io.in_shape(0).dims()[1], io.in_shape(0).width());
        let (channels, shared) = (io.out_shape(0).width(), io.out_shape(1).width());
        let position = io.step().position as usize;
        let [out, keys, values] = io.outputs();
        for (t, qkv) in (position..).zip(qkv.chunks_exact(row)) {
            keys[t * shared..][..shared].copy_from_slice(&qkv[channels..channels + shared]);
            values[t * shared..][..shared].copy_from_slice(&qkv[channels + shared..]);
        }
        let width = channels / self.n_head;
        let scale = F::of(1.0 / (width as f64).sqrt());
        let cache = Cache { op: *self, keys, values, width, position, scale };
        if n == 1 {
            return cache.decode(&qkv[..channels], out);
        }
        MatMut::new(out, n, channels).blocks(n, width).into_par_iter().enumerate().for_each_init(
            || vec![F::ZERO; BLOCK.min(n) * (position + n)],
            |scores, (head, out)| cache.prefill(qkv, n, head, out, scores),
        );
    }
}

/// ((n, position, T_max, n_head, n_kv_head, D), ALiBi): on both sides of the kernel's tile of 64 keys.
const SHAPES: [([usize; 6], bool); 15] = [
    ([1, 0, 1, 1, 1, 1], false),
    ([1, 0, 8, 3, 3, 5], false),
    ([1, 62, 67, 2, 2, 8], false),
    ([1, 63, 64, 1, 1, 33], false),
    ([1, 64, 131, 4, 4, 32], false),
    ([1, 190, 256, 2, 2, 64], false),
    ([7, 0, 7, 2, 2, 3], false),
    ([66, 3, 97, 1, 1, 16], false),
    ([5, 127, 200, 3, 3, 7], false),
    ([2, 5, 9, 1, 1, 131], false),
    ([1, 66, 70, 6, 2, 5], false),
    ([3, 9, 13, 4, 1, 4], false),
    ([1, 100, 101, 3, 3, 8], true),
    ([1, 7, 11, 12, 6, 3], true),
    ([67, 2, 70, 5, 1, 9], true),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([n, position, room, n_head, n_kv_head, width], alibi) in SHAPES {
        for largest in [1.0, 1e2] {
            let cache = Spec::f32([room, n_kv_head * width]);
            let operands = [Spec::f32([1, n, (n_head + 2 * n_kv_head) * width]), cache, cache];
            let bound = bound([position + n, width], alibi, largest.into());
            let op = AttentionCached { n_head, n_kv_head, alibi };
            let case = Case::new(op, &operands, bound).at_position(position as u32);
            cases.push((0..3).fold(case, |case, i| case.with(i, Fill::Uniform(largest))));
        }
    }
    cases
}
