//! attention_backward: the probabilities again, block by block, and from them the gradients of q, k and v.
//!
//! With p = exp(s - lse), s = q kᵀ/√D, the mask m of dropout (1 or 0, over 1 - p_drop) and δ = Σ_d dout · out:
//! dv = (m p)ᵀ dout, ds = p (m dout vᵀ - δ)/√D, dq = ds k, dk = dsᵀ q.

use rayon::prelude::*;

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Scratch, Shader, Target};
use crate::engine::matrix::{Mat, MatMut, product};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::ops::attention::{Attention, BLOCK, Extent, Mask, SHAPES, variants};
use crate::ops::heads::batch_ranges;
use crate::shader;

pub static ATTENTION_BACKWARD: OpInfo = OpInfo {
    name: "attention_backward",
    formula: "dv = pᵀ dout, ds = p (dout vᵀ - Σ dout·out)/√D, dq = ds k, dk = dsᵀ q",
    cases,
};

/// qkv (B, T, 3C), out (B, T, C), lse (B, n_head, T), dout (B, T, C) → dqkv (B, T, 3C).
#[derive(Clone, Copy, Debug)]
pub struct AttentionBackward(pub Attention);

/// What the heads of one application share.
struct Given<'a, F> {
    e: Extent,
    qkv: &'a [F],
    out: &'a [F],
    lse: &'a [F],
    dout: &'a [F],
    mask: Option<Mask>,
}

/// Memory of one worker: two blocks of scores, and dk and dv of one head.
struct Workspace<F> {
    p: Vec<F>,
    ds: Vec<F>,
    dk: Vec<F>,
    dv: Vec<F>,
}

impl<F: Real> Workspace<F> {
    fn new(e: &Extent) -> Self {
        let (scores, head) = (BLOCK.min(e.time) * e.time, e.time * e.width);
        let zeros = |n| vec![F::ZERO; n];
        Self { p: zeros(scores), ds: zeros(scores), dk: zeros(head), dv: zeros(head) }
    }
}

impl AttentionBackward {
    /// One head: its columns of dq, dk and dv.
    fn head<F: Real>(
        &self,
        given: &Given<F>,
        head: usize,
        [mut dq, mut dk, mut dv]: [MatMut<F>; 3],
        w: &mut Workspace<F>,
    ) {
        let e = &given.e;
        let (b, h, row) = (head / e.n_head, head % e.n_head, 3 * e.channels());
        let scale = F::of(Attention::scale(e));
        let last = (e.time - 1) / BLOCK * BLOCK;
        // From the last queries, which see every key: theirs are the first sums in dk and dv.
        for first in (0..=last).rev().step_by(BLOCK) {
            let rows = BLOCK.min(e.time - first);
            let keys = self.0.seen(first + rows - 1, e.time);
            let q = e.view(given.qkv, row, [b, h, 0], [first, rows]);
            let k = e.view(given.qkv, row, [b, h, 1], [0, keys]);
            let v = e.view(given.qkv, row, [b, h, 2], [0, keys]);
            let dout = e.view(given.dout, e.channels(), [b, h, 0], [first, rows]);
            let (p, ds) = (&mut w.p[..rows * keys], &mut w.ds[..rows * keys]);
            product(&mut MatMut::new(p, rows, keys), false, scale, q, k.t());
            product(&mut MatMut::new(ds, rows, keys), false, F::ONE, dout, v.t());
            self.scores(given, head, first, keys, p, ds);

            let add = first < last;
            let (p, ds) = (Mat::new(p, rows, keys), Mat::new(ds, rows, keys));
            product(&mut MatMut::new(&mut w.dv, keys, e.width), add, F::ONE, p.t(), dout);
            product(&mut MatMut::new(&mut w.dk, keys, e.width), add, scale, ds.t(), q);
            let (rest, mut block) = dq.split_rows(first);
            product(&mut block, false, scale, ds, k);
            dq = rest;
        }
        for t in 0..e.time {
            dk.row(t).copy_from_slice(&w.dk[t * e.width..][..e.width]);
            dv.row(t).copy_from_slice(&w.dv[t * e.width..][..e.width]);
        }
    }

    /// Turns scores and dout vᵀ of queries from `first` on into m p and √D ds.
    fn scores<F: Real>(
        &self,
        given: &Given<F>,
        head: usize,
        first: usize,
        keys: usize,
        p: &mut [F],
        ds: &mut [F],
    ) {
        let e = &given.e;
        let (b, h) = (head / e.n_head, head % e.n_head);
        // The closure must consume what it walks: only as an `FnOnce` is it inlined where it vectorises.
        let queries = (first..).zip(p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys)));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (t, (p, ds)) in queries {
                    let at = (b * e.time + t) * e.channels() + h * e.width;
                    let pair = given.out[at..at + e.width].iter().zip(&given.dout[at..]);
                    let delta: F = pair.map(|(&out, &dout)| out * dout).sum();
                    let lse = given.lse[head * e.time + t];
                    let (p, unseen_p) = p.split_at_mut(self.0.seen(t, e.time));
                    let (ds, unseen_ds) = ds.split_at_mut(p.len());
                    if let Some(mask) = given.mask {
                        mask.apply(ds, head, t, e.time);
                    }
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = (*p - lse).exp();
                        *ds = *p * (*ds - delta);
                    }
                    if let Some(mask) = given.mask {
                        mask.apply(p, head, t, e.time);
                    }
                    unseen_p.fill(F::ZERO);
                    unseen_ds.fill(F::ZERO);
                }
            },
        );
    }

    /// δ, then dq by blocks of queries, then dk and dv by blocks of keys: nothing is added to concurrently.
    fn kernel(
        &self,
        variant: &'static str,
        [queries, keys]: [Shader; 2],
        e: &Extent,
        target: &Target,
    ) -> Kernel {
        let [qkv, out, lse] = [3 * e.time * e.channels(), e.time * e.channels(), e.time * e.n_head];
        let mut dispatches = Vec::new();
        for (first, n) in batch_ranges(target, e.batch, &[qkv, out, lse]) {
            let heads = n * e.n_head;
            dispatches.push(
                Dispatch::new(shader!("attention/delta"))
                    .bind_part("out", In(1), first * out, n * out)
                    .bind_part("dout", In(3), first * out, n * out)
                    .bind_part("delta", Scratch, first * lse, n * lse)
                    .param("heads", heads)
                    .param("n_head", e.n_head)
                    .param("time", e.time)
                    .param("width", e.width)
                    .groups((heads * e.time).div_ceil(64), target),
            );
            for shader in [queries, keys] {
                dispatches.push(
                    self.0
                        .describe(Dispatch::new(shader), e, first)
                        .bind_part("qkv", In(0), first * qkv, n * qkv)
                        .bind_part("lse", In(2), first * lse, n * lse)
                        .bind_part("dout", In(3), first * out, n * out)
                        .bind_part("delta", Scratch, first * lse, n * lse)
                        .bind_part("dqkv", Out(0), first * qkv, n * qkv)
                        .param("heads", heads)
                        .groups(heads * e.time.div_ceil(64), target),
                );
            }
        }
        Kernel { scratch: e.batch * lse, ..Kernel::new(variant, dispatches) }
    }
}

impl Op for AttentionBackward {
    fn info(&self) -> &'static OpInfo {
        &ATTENTION_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 4, 4)?;
        let [out, lse] = self.0.results(inputs[0])?;
        expect("out", inputs[1], out)?;
        expect("lse", inputs[2], lse)?;
        expect("dout", inputs[3], out)?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let e = self.0.extent(operands.in_shape(0));
        let plain = [
            shader!("attention/plain_queries", "hash", "step"),
            shader!("attention/plain_keys", "hash", "step"),
        ];
        let flash = [
            shader!("attention/flash_queries", "hash", "step", "tiles"),
            shader!("attention/flash_keys", "hash", "step", "tiles"),
        ];
        variants(self.kernel("plain", plain, &e, target), self.kernel("flash", flash, &e, target), &e, target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let e = self.0.extent(operands.in_shape(0));
        Cost { flops: 5 * self.0.product_flops(&e), bytes: operands.bytes() }
    }
}

impl Twin for AttentionBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let e = self.0.extent(io.in_shape(0));
        let given = Given {
            e,
            qkv: io.input(0),
            out: io.input(1),
            lse: io.input(2),
            dout: io.input(3),
            mask: self.0.mask(io.step()),
        };
        let [dqkv] = io.outputs();
        let mut heads = Vec::with_capacity(e.batch * e.n_head);
        for item in dqkv.chunks_exact_mut(e.time * 3 * e.channels()) {
            let (dq, dkv) = MatMut::new(item, e.time, 3 * e.channels()).split_cols(e.channels());
            let (dk, dv) = dkv.split_cols(e.channels());
            let [dq, dk, dv] = [dq, dk, dv].map(|m| m.blocks(e.time, e.width).into_iter());
            heads.extend(dq.zip(dk).zip(dv).map(|((dq, dk), dv)| [dq, dk, dv]));
        }
        heads
            .into_par_iter()
            .enumerate()
            .for_each_init(|| Workspace::new(&e), |w, (head, d)| self.head(&given, head, d, w));
    }
}

/// Operands are drawn apart, so p = exp(s - lse) is no probability; lse between 2 and 4 keeps it well below 1.
/// p carries the error of a score of D products, 4√D units as in the forward pass, and 16 of exp and of sums.
/// dp and δ are sums of D products, which grow and round by √D and are divided by √D, so that ds is about
/// p times the largest dout, with the relative error of p. Each gradient adds T such terms: their errors walk √T.
fn bound(time: usize, width: usize, largest: f64) -> Bound {
    Bound::new(4.0, (time as f64).sqrt() * (4.0 * (width as f64).sqrt() + 16.0) * largest)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([b, time, n_head, width], causal, dropout) in SHAPES {
        for largest in [1.0, 1e2] {
            let op = Attention { n_head, causal, dropout, salt: 7 };
            let [qkv, out] = [3, 1].map(|parts| Spec::f32([b, time, parts * n_head * width]));
            let operands = [qkv, out, Spec::f32([b, n_head, time]), out];
            let case = Case::new(AttentionBackward(op), &operands, bound(time, width, largest.into()));
            cases.push(case.with(2, Fill::Between(2.0, 4.0)).with(3, Fill::Uniform(largest)));
        }
    }
    cases
}
