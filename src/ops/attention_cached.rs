//! attention_cached: attention of new tokens to themselves and to all before them, whose keys and values are
//! kept. Decoding a token costs one row of every product instead of all of them. Streams of tokens may be decoded side
//! by side.

use rayon::prelude::*;

use crate::engine::matrix::{Mat, MatMut};
use crate::ops::attention_bias::{Bias, alibi_heads, alibi_step};
use crate::ops::attention_cases::bound;
use crate::ops::attention_common::{BLOCK, attend};
use crate::ops::heads::{batch_ranges, expect_grouped};
use crate::ops::prelude::*;
use crate::ops::softmax::softmax_start;

pub static ATTENTION_CACHED: OpInfo = OpInfo {
    name: "attention_cached",
    formula: "keys, values ← k, v at position.., out = softmax(q keysᵀ/√D) values",
    cases,
};

/// qkv (B, n, (n_head + 2 n_kv_head)·D) of n new tokens of each of B streams, keys (B, T_max, n_kv_head·D), values as
/// keys → out (B, n, n_head·D), and keys and values in place.
///
/// New token i of every stream is at position `position` + i, with `position` from the step; the caller keeps
/// `position` + n within T_max.
#[derive(Clone, Copy, Debug)]
pub struct AttentionCached {
    pub n_head: usize,
    /// Heads of keys and values, each shared by n_head / n_kv_head heads of queries.
    pub n_kv_head: usize,
    /// Scores sink with distance, each head's by its own slope (Press et al. 2022).
    pub alibi: bool,
    /// The keys that a query sees, its own the last; 0 for all.
    pub window: usize,
    /// What q·k is multiplied by; `None` for 1/√D.
    pub scale: Option<f32>,
}

impl AttentionCached {
    fn scale(&self, width: usize) -> f64 {
        self.scale.map_or(1.0 / (width as f64).sqrt(), f64::from)
    }
}

/// The CPU's view of one stream, after its new keys and values were stored.
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
        Bias::new(self.op.alibi, [self.op.n_head, head], self.op.window, None)
    }

    /// One new token: its scores are too few for products of matrices to pay. The cache is read row by row,
    /// all heads of a row at once, as it lies in memory.
    fn decode(&self, q: &[F], out: &mut [F]) {
        let (first, width) = (self.bias(0).first(self.position), self.width);
        let seen = self.position + 1 - first;
        let shared = self.op.n_head / self.op.n_kv_head * width;
        let mut scores = vec![F::ZERO; q.len() / width * seen];
        out.fill(F::ZERO);
        let rows = |x: &'a [F]| x.chunks_exact(self.channels()).skip(first).take(seen).enumerate();
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
                    self.bias(h).apply(self.position, first, p);
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
            let from = self.position + first;
            let seen = bias.first(from)..from + rows;
            let keys = seen.len();
            let q = Mat::strided(&qkv[first * row + head * self.width..], rows, self.width, row);
            let k = Mat::strided(
                &self.keys[seen.start * self.channels() + column..],
                keys,
                self.width,
                self.channels(),
            );
            let v = Mat::strided(
                &self.values[seen.start * self.channels() + column..],
                keys,
                self.width,
                self.channels(),
            );
            let (mut block, rest) = out.split_rows(rows);
            attend(
                &mut block,
                [q, k, v],
                [rows, keys],
                self.scale,
                scores,
                #[inline(always)]
                |i, p| {
                    let n = from + i + 1 - seen.start;
                    bias.apply(from + i, seen.start, &mut p[..n]);
                    softmax_start(p, n);
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
        let room = inputs[1].shape.dims().get(1).copied().unwrap_or(0);
        if n > room {
            return Err(OpError::new(format!(
                "operand `keys` is {}, without room for the {n} tokens of {}",
                inputs[1], inputs[0]
            )));
        }
        expect("keys", inputs[1], Spec::f32([batch, room, self.n_kv_head * width]))?;
        expect("values", inputs[2], inputs[1])?;
        Ok(vec![Spec::f32([batch, n, self.n_head * width]), inputs[1], inputs[2]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(1, 1), (2, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (qkv, keys, out) = (operands.in_shape(0), operands.out_shape(1), operands.out_shape(0));
        let (batch, n, room) = (qkv.dims()[0], qkv.dims()[1], keys.dims()[1]);
        let (row, channels) = (qkv.width(), keys.width());
        let width = channels / self.n_kv_head;
        let widths = [n * row, room * channels, n * out.width()];
        let part = |(first, streams): (usize, usize)| {
            let [qkv, cache, out] = widths.map(|width| (first * width, streams * width));
            Dispatch::new(shader!("attention_cached", "reduce", "step", "alibi"))
                .constant("WIDTH", width as u32)
                .constant("ALIBI", self.alibi.into())
                .constant("WINDOW", self.window.min(room) as u32)
                .bind_part("qkv", In(0), qkv.0, qkv.1)
                .bind_part("keys", Out(1), cache.0, cache.1)
                .bind_part("values", Out(2), cache.0, cache.1)
                .bind_part("out", Out(0), out.0, out.1)
                .param("n", n)
                .param("room", room)
                .param("tokens", streams * n)
                .param("n_head", self.n_head)
                .param("n_kv_head", self.n_kv_head)
                .param("alibi_heads", alibi_heads(self.n_head))
                .param("alibi_step", alibi_step(self.n_head))
                .param("scale", self.scale(width) as f32)
                .groups(streams * n * self.n_head, target)
        };
        Kernel::plain(batch_ranges(target, batch, &widths).into_iter().map(part).collect())
    }

    /// As at the last position: what it costs before depends on the step.
    fn cost(&self, operands: &Operands) -> Cost {
        let (out, room) = (operands.out_shape(0).len(), operands.in_shape(1).dims()[1]);
        let seen = if self.window == 0 { room } else { self.window.min(room) };
        Cost { flops: 4 * (out * seen) as u64, bytes: operands.bytes() }
    }
}

impl Twin for AttentionCached {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (qkv, n, row) = (io.input(0), io.in_shape(0).dims()[1], io.in_shape(0).width());
        let (batch, room) = (io.in_shape(0).dims()[0], io.out_shape(1).dims()[1]);
        let (channels, shared) = (io.out_shape(0).width(), io.out_shape(1).width());
        let position = io.step().position as usize;
        let [out, keys, values] = io.outputs();
        for (token, qkv) in qkv.chunks_exact(row).enumerate() {
            let to = (token / n * room + position + token % n) * shared;
            keys[to..][..shared].copy_from_slice(&qkv[channels..channels + shared]);
            values[to..][..shared].copy_from_slice(&qkv[channels + shared..]);
        }
        let width = channels / self.n_head;
        let scale = F::of(self.scale(width));
        let (keys, values) = (&*keys, &*values);
        let stream = |i: usize| {
            let [keys, values] = [keys, values].map(|x| &x[i * room * shared..][..room * shared]);
            Cache { op: *self, keys, values, width, position, scale }
        };
        if n == 1 {
            // One stream alone stays on its thread.
            return for_rows([(out, channels)], 2 * shared * (position + 1), |i, [out]| {
                stream(i).decode(&qkv[i * row..][..channels], out);
            });
        }
        MatMut::new(out, batch * n, channels).blocks(n, width).into_par_iter().enumerate().for_each_init(
            || vec![F::ZERO; BLOCK.min(n) * (position + n)],
            |scores, (at, out)| {
                let (i, head) = (at / self.n_head, at % self.n_head);
                stream(i).prefill(&qkv[i * n * row..][..n * row], n, head, out, scores);
            },
        );
    }
}

/// ((B, n, position, T_max, n_head, n_kv_head, D), window): of one key, shorter and longer than the kernel's tile of
/// 256 keys, and than what there is.
const WINDOWS: [([usize; 7], usize); 5] = [
    ([1, 1, 5, 8, 3, 3, 5], 1),
    ([2, 1, 300, 303, 4, 2, 8], 40),
    ([1, 1, 600, 611, 1, 1, 33], 257),
    ([1, 70, 3, 97, 2, 1, 16], 9),
    ([1, 3, 2, 9, 2, 2, 4], 100),
];

/// ((B, n, position, T_max, n_head, n_kv_head, D), ALiBi): on both sides of the kernel's tile of 256 keys; heads
/// wider than a workgroup; and streams that small bindings can split.
const SHAPES: [([usize; 7], bool); 20] = [
    ([1, 1, 0, 1, 1, 1, 1], false),
    ([1, 1, 0, 8, 3, 3, 5], false),
    ([1, 1, 254, 259, 2, 2, 8], false),
    ([1, 1, 255, 256, 1, 1, 33], false),
    ([1, 1, 256, 523, 4, 4, 32], false),
    ([1, 1, 767, 770, 2, 2, 64], false),
    ([1, 7, 0, 7, 2, 2, 3], false),
    ([1, 66, 3, 97, 1, 1, 16], false),
    ([1, 5, 127, 200, 3, 3, 7], false),
    ([1, 2, 5, 9, 1, 1, 131], false),
    ([1, 5, 5, 11, 2, 1, 300], false),
    ([1, 1, 66, 70, 6, 2, 5], false),
    ([1, 3, 9, 13, 4, 1, 4], false),
    ([1, 1, 100, 101, 3, 3, 8], true),
    ([1, 1, 7, 11, 12, 6, 3], true),
    ([1, 67, 2, 70, 5, 1, 9], true),
    ([3, 1, 4, 9, 2, 2, 3], false),
    ([2, 5, 3, 11, 4, 2, 5], true),
    ([5, 1, 65, 67, 3, 1, 4], true),
    ([11, 3, 2, 8, 4, 4, 4], false),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = SHAPES.map(|(sizes, alibi)| (sizes, alibi, 0)).into_iter();
    let all = all.chain(WINDOWS.map(|(sizes, window)| (sizes, false, window)));
    for ([batch, n, position, room, n_head, n_kv_head, width], alibi, window) in all {
        for largest in [1.0, 1e2] {
            let cache = Spec::f32([batch, room, n_kv_head * width]);
            let operands = [Spec::f32([batch, n, (n_head + 2 * n_kv_head) * width]), cache, cache];
            let bound = bound([position + n, width], alibi, largest.into());
            // Smaller than 1/√D, so that bounds that assume that hold.
            let scale = (window > 0).then_some(0.7 / (width as f32).sqrt());
            let op = AttentionCached { n_head, n_kv_head, alibi, window, scale };
            let case = Case::new(op, &operands, bound).at_position(position as u32);
            cases.push((0..3).fold(case, |case, i| case.with(i, Fill::Uniform(largest))));
        }
    }
    cases
}
