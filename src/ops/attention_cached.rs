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
use crate::ops::attention::{BLOCK, attend, bound};
use crate::ops::heads::expect_heads;
use crate::ops::softmax::softmax_start;
use crate::shader;

pub static ATTENTION_CACHED: OpInfo = OpInfo {
    name: "attention_cached",
    formula: "keys, values ← k, v at position.., out = softmax(q keysᵀ/√D) values",
    cases,
};

/// qkv (1, n, 3C) of n new tokens, keys (T_max, C), values (T_max, C) → out (1, n, C), and keys and values in
/// place.
///
/// New token i stands at the step's `position` + i; whoever sets it keeps `position` + n within T_max.
#[derive(Clone, Copy, Debug)]
pub struct AttentionCached {
    pub n_head: usize,
}

/// The CPU's view of one application, after the new keys and values were stored.
struct Cache<'a, F> {
    keys: &'a [F],
    values: &'a [F],
    channels: usize,
    /// D.
    width: usize,
    position: usize,
    scale: F,
}

impl<'a, F: Real> Cache<'a, F> {
    /// One new token: its scores are too few for products of matrices to pay. The cache is read row by row,
    /// all heads of a row at once, as it lies in memory.
    fn decode(&self, q: &[F], out: &mut [F]) {
        let (seen, width) = (self.position + 1, self.width);
        let mut scores = vec![F::ZERO; q.len() / width * seen];
        out.fill(F::ZERO);
        let rows = |x: &'a [F]| x.chunks_exact(self.channels).take(seen).enumerate();
        // The closure must consume what it walks: only as an `FnOnce` is it inlined where it vectorises.
        let (keys, values) = (rows(self.keys), rows(self.values));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (s, k) in keys {
                    for (h, (q, k)) in q.chunks_exact(width).zip(k.chunks_exact(width)).enumerate() {
                        scores[h * seen + s] = self.scale * dot(q, k);
                    }
                }
                for p in scores.chunks_exact_mut(seen) {
                    softmax_start(p, seen);
                }
                for (s, v) in values {
                    for (h, (out, v)) in out.chunks_exact_mut(width).zip(v.chunks_exact(width)).enumerate() {
                        let p = scores[h * seen + s];
                        for (out, &v) in out.iter_mut().zip(v) {
                            *out = p.fma(v, *out);
                        }
                    }
                }
            },
        );
    }

    /// One head of n new tokens.
    fn prefill(&self, qkv: &[F], n: usize, head: usize, mut out: MatMut<F>, scores: &mut [F]) {
        let column = head * self.width;
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let keys = self.position + first + rows;
            let row = 3 * self.channels;
            let q = Mat::strided(&qkv[first * row + column..], rows, self.width, row);
            let k = Mat::strided(&self.keys[column..], keys, self.width, self.channels);
            let v = Mat::strided(&self.values[column..], keys, self.width, self.channels);
            let (mut block, rest) = out.split_rows(rows);
            attend(
                &mut block,
                [q, k, v],
                [rows, keys],
                self.scale,
                scores,
                #[inline(always)]
                |i, p| {
                    softmax_start(p, self.position + first + i + 1);
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
        expect_heads("qkv", inputs[0], self.n_head, 3)?;
        let (batch, n) = (inputs[0].shape.dims()[0], inputs[0].shape.dims()[1]);
        let (channels, room) = (inputs[0].shape.width() / 3, inputs[1].shape.rows());
        if batch != 1 || n > room {
            return Err(OpError::new(format!("operand `qkv` is {}, not (1, n ≤ {room}, 3C)", inputs[0])));
        }
        expect("keys", inputs[1], Spec::f32([room, channels]))?;
        expect("values", inputs[2], inputs[1])?;
        Ok(vec![Spec::f32([1, n, channels]), inputs[1], inputs[2]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(1, 1), (2, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (n, channels) = (operands.in_shape(0).dims()[1], operands.out_shape(0).width());
        let width = channels / self.n_head;
        Kernel::plain(vec![
            Dispatch::new(shader!("attention_cached/store", "step"))
                .bind("qkv", In(0))
                .bind("keys", Out(1))
                .bind("values", Out(2))
                .param("len", n * channels)
                .param("channels", channels)
                .groups((n * channels).div_ceil(64), target),
            Dispatch::new(shader!("attention_cached/attend", "reduce", "step"))
                .constant("WIDTH", width as u32)
                .bind("qkv", In(0))
                .bind("keys", Out(1))
                .bind("values", Out(2))
                .bind("out", Out(0))
                .param("n", n)
                .param("n_head", self.n_head)
                .param("scale", 1.0 / (width as f32).sqrt())
                .groups(n * self.n_head, target),
        ])
    }

    /// As at the last position: what it costs before depends on the step.
    fn cost(&self, operands: &Operands) -> Cost {
        let (n, cache) = (operands.in_shape(0).dims()[1], operands.in_shape(1).len());
        Cost { flops: 4 * (n * cache) as u64, bytes: operands.bytes() }
    }
}

impl Twin for AttentionCached {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (qkv, n, channels) = (io.input(0), io.in_shape(0).dims()[1], io.out_shape(0).width());
        let position = io.step().position as usize;
        let [out, keys, values] = io.outputs();
        for (row, qkv) in (position..).zip(qkv.chunks_exact(3 * channels)) {
            keys[row * channels..][..channels].copy_from_slice(&qkv[channels..2 * channels]);
            values[row * channels..][..channels].copy_from_slice(&qkv[2 * channels..]);
        }
        let width = channels / self.n_head;
        let scale = F::of(1.0 / (width as f64).sqrt());
        let cache = Cache { keys, values, channels, width, position, scale };
        if n == 1 {
            return cache.decode(&qkv[..channels], out);
        }
        MatMut::new(out, n, channels).blocks(n, width).into_par_iter().enumerate().for_each_init(
            || vec![F::ZERO; BLOCK.min(n) * (position + n)],
            |scores, (head, out)| cache.prefill(qkv, n, head, out, scores),
        );
    }
}

/// (n, position, T_max, n_head, D): on both sides of the kernel's tile of 64 keys.
const SHAPES: [[usize; 5]; 10] = [
    [1, 0, 1, 1, 1],
    [1, 0, 8, 3, 5],
    [1, 62, 67, 2, 8],
    [1, 63, 64, 1, 33],
    [1, 64, 131, 4, 32],
    [1, 190, 256, 2, 64],
    [7, 0, 7, 2, 3],
    [66, 3, 97, 1, 16],
    [5, 127, 200, 3, 7],
    [2, 5, 9, 1, 131],
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [n, position, room, n_head, width] in SHAPES {
        for largest in [1.0, 1e2] {
            let cache = Spec::f32([room, n_head * width]);
            let operands = [Spec::f32([1, n, 3 * n_head * width]), cache, cache];
            let bound = bound(position + n, width, largest.into());
            let case = Case::new(AttentionCached { n_head }, &operands, bound).at_position(position as u32);
            cases.push((0..3).fold(case, |case, i| case.with(i, Fill::Uniform(largest))));
        }
    }
    cases
}
