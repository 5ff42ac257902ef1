//! attention_backward: the probabilities again, block by block, and from them the gradients of q, k and v.
//!
//! With p = exp(s - lse), s = q kᵀ/√D, the mask m of dropout (1 or 0, over 1 - p_drop) and δ = Σ_d dout · out:
//! dv = (m p)ᵀ dout, ds = p (m dout vᵀ - δ)/√D, dq = ds k, dk = dsᵀ q.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::matrix::{Mat, MatMut, product};
use crate::ops::attention::Attention;
use crate::ops::attention_bias::Bias;
use crate::ops::attention_cases::{backward_bound, forms};
use crate::ops::attention_common::{BLOCK, Extent, Mask, variants};
use crate::ops::attention_one_pass::one_pass;
use crate::ops::heads::batch_ranges;
use crate::ops::prelude::*;

pub static ATTENTION_BACKWARD: OpInfo = OpInfo {
    name: "attention_backward",
    formula: "dv = pᵀ dout, ds = p (dout vᵀ - Σ dout·out)/√D, dq = ds k, dk = dsᵀ q",
    cases,
};

/// (qkv (B, T, (n_head + 2 n_kv_head)·D), out (B, T, n_head·D), lse (B, n_head, T), dout as out,
/// [segments (B, T)]) → dqkv, as qkv. Keys and values add up the gradients of the heads that share them, in order.
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
    segments: Option<&'a [u32]>,
}

/// Memory of one worker: two blocks of scores, and dk and dv of one head of keys.
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
    /// One head of keys and the heads of queries that share it: their columns of dq, dk and dv.
    fn head<F: Real>(
        &self,
        given: &Given<F>,
        head: usize,
        [mut dq, mut dk, mut dv]: [MatMut<F>; 3],
        w: &mut Workspace<F>,
    ) {
        let e = &given.e;
        let (b, kv_head) = (head / e.n_kv_head, head % e.n_kv_head);
        for (i, h) in (kv_head * e.group()..).take(e.group()).enumerate() {
            let (queries, rest) = dq.split_cols(e.width);
            self.queries(given, [b, h], i > 0, queries, w);
            dq = rest;
        }
        for t in 0..e.time {
            dk.row(t).copy_from_slice(&w.dk[t * e.width..][..e.width]);
            dv.row(t).copy_from_slice(&w.dv[t * e.width..][..e.width]);
        }
    }

    /// One head of queries: its dq, and its share of dk and dv, which are added to when they `keep` others'.
    fn queries<F: Real>(
        &self,
        given: &Given<F>,
        [b, h]: [usize; 2],
        keep: bool,
        mut dq: MatMut<F>,
        w: &mut Workspace<F>,
    ) {
        let (e, row) = (&given.e, given.e.row());
        let [key, value] = e.shared(h);
        let scale = F::of(self.0.scale(e));
        let last = (e.time - 1) / BLOCK * BLOCK;
        let segments = given.segments.map(|segments| &segments[b * e.time..][..e.time]);
        let bias = Bias::new(self.0.alibi, [e.n_head, h], self.0.window, segments);
        // From the last queries, which see the last key: theirs are the first sums in dk and dv.
        for first in (0..=last).rev().step_by(BLOCK) {
            let rows = BLOCK.min(e.time - first);
            let queries = first..first + rows;
            let keys = bias.keys(queries.clone(), self.0.seen(first + rows - 1, e.time));
            let q = e.view(given.qkv, row, [b, h], &queries);
            let k = e.view(given.qkv, row, [b, key], &keys);
            let v = e.view(given.qkv, row, [b, value], &keys);
            let dout = e.view(given.dout, e.channels(), [b, h], &queries);
            let n = keys.len();
            let (p, ds) = (&mut w.p[..rows * n], &mut w.ds[..rows * n]);
            product(&mut MatMut::new(p, rows, n), false, scale, q, k.t());
            product(&mut MatMut::new(ds, rows, n), false, F::ONE, dout, v.t());
            self.scores(given, [b, h], bias, first, &keys, [p, ds]);

            let add = keep || first < last;
            let (unseen, at) = (keys.start * e.width, keys.start * e.width..keys.end * e.width);
            if !add {
                w.dv[..unseen].fill(F::ZERO);
                w.dk[..unseen].fill(F::ZERO);
            }
            let (p, ds) = (Mat::new(p, rows, n), Mat::new(ds, rows, n));
            product(&mut MatMut::new(&mut w.dv[at.clone()], n, e.width), add, F::ONE, p.t(), dout);
            product(&mut MatMut::new(&mut w.dk[at], n, e.width), add, scale, ds.t(), q);
            let (rest, mut block) = dq.split_rows(first);
            product(&mut block, false, scale, ds, k);
            dq = rest;
        }
    }

    /// Turns scores and dout vᵀ of queries from `first` on into m p and √D ds.
    fn scores<F: Real>(
        &self,
        given: &Given<F>,
        [b, h]: [usize; 2],
        bias: Bias<F>,
        first: usize,
        keys: &Range<usize>,
        [p, ds]: [&mut [F]; 2],
    ) {
        let (e, n) = (&given.e, keys.len());
        let head = b * e.n_head + h;
        // The closure must consume what it walks: only as an `FnOnce` is it inlined where it vectorises.
        let queries = (first..).zip(p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (t, (p, ds)) in queries {
                    let at = (b * e.time + t) * e.channels() + h * e.width;
                    let pair = given.out[at..at + e.width].iter().zip(&given.dout[at..]);
                    let delta: F = pair.map(|(&out, &dout)| out * dout).sum();
                    let lse = given.lse[head * e.time + t];
                    let (p, unseen_p) = p.split_at_mut(self.0.seen(t, keys.end) - keys.start);
                    let (ds, unseen_ds) = ds.split_at_mut(p.len());
                    bias.apply(t, keys.start, p);
                    if let Some(mask) = given.mask {
                        mask.apply(ds, head, [t, keys.start], e.time);
                    }
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = (*p - lse).exp();
                        *ds = *p * (*ds - delta);
                    }
                    if let Some(mask) = given.mask {
                        mask.apply(p, head, [t, keys.start], e.time);
                    }
                    unseen_p.fill(F::ZERO);
                    unseen_ds.fill(F::ZERO);
                }
            },
        );
    }

    /// δ and dq by blocks of queries, then dk and dv by blocks of keys: nothing is added to concurrently.
    fn kernel(
        &self,
        variant: &'static str,
        [queries, keys]: [Shader; 2],
        e: &Extent,
        segments: Option<usize>,
        target: &Target,
    ) -> Kernel {
        let [qkv, out, lse] = [e.time * e.row(), e.time * e.channels(), e.time * e.n_head];
        let mut widths = vec![qkv, out, lse];
        widths.extend(segments.map(|_| e.time));
        let mut dispatches = Vec::new();
        for (first, n) in batch_ranges(target, e.batch, &widths) {
            let heads = n * e.n_head;
            for (shader, heads) in [(queries, heads), (keys, n * e.n_kv_head)] {
                let mut dispatch = self.0.describe(shader, e, first);
                if shader == queries {
                    dispatch = dispatch.bind_part("out", In(1), first * out, n * out);
                }
                dispatches.push(
                    Attention::bind_segments(dispatch, segments, e, (first, n))
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
        expect_operands(inputs, 4, 5)?;
        let [out, lse] = self.0.results(inputs[0], inputs.get(4))?;
        expect("out", inputs[1], out)?;
        expect("lse", inputs[2], lse)?;
        expect("dout", inputs[3], out)?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let e = self.0.extent(operands.in_shape(0));
        let segments = (operands.inputs.len() > 4).then_some(4);
        let plain = [
            shader!("attention/plain_queries", "hash", "step", "alibi", "segments"),
            shader!("attention/plain_keys", "hash", "step", "alibi", "segments"),
        ];
        let flash = [
            shader!("attention/flash_queries", "hash", "step", "alibi", "segments", "tiles"),
            shader!("attention/flash_keys", "hash", "step", "alibi", "segments", "tiles"),
        ];
        let kernel = |variant, shaders| self.kernel(variant, shaders, &e, segments, target);
        let mut kernels = variants(kernel("plain", plain), kernel("flash", flash), &e, target);
        let described = |shader, (first, n)| {
            let dispatch = self.0.settings(Dispatch::new(shader), &e, first);
            Attention::bind_segments_alone(dispatch, segments, &e, (first, n))
                .param("dropout", self.0.dropout > 0.0)
                .param("alibi", self.0.alibi)
                .param("segmented", segments.is_some())
        };
        // Before the one that is taken without measuring.
        kernels.splice(..0, one_pass(&e, segments.is_some(), target, &described));
        kernels
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
            mask: Mask::new(self.0.dropout, io.step().seed, self.0.salt),
            segments: (io.n_inputs() > 4).then(|| io.indices(4)),
        };
        let [dqkv] = io.outputs();
        let mut heads = Vec::with_capacity(e.batch * e.n_kv_head);
        for item in dqkv.chunks_exact_mut(e.time * e.row()) {
            let (dq, dkv) = MatMut::new(item, e.time, e.row()).split_cols(e.channels());
            let (dk, dv) = dkv.split_cols(e.n_kv_head * e.width);
            let dq = dq.blocks(e.time, e.group() * e.width).into_iter();
            let [dk, dv] = [dk, dv].map(|m| m.blocks(e.time, e.width).into_iter());
            heads.extend(dq.zip(dk).zip(dv).map(|((dq, dk), dv)| [dq, dk, dv]));
        }
        heads
            .into_par_iter()
            .enumerate()
            .for_each_init(|| Workspace::new(&e), |w, (head, d)| self.head(&given, head, d, w));
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in forms() {
        for largest in [1.0, 1e2] {
            let operands = [form.qkv(), form.out(), form.lse(), form.out()];
            let case =
                form.case(AttentionBackward(form.op), &operands, backward_bound(&form, largest.into()));
            cases.push(case.with(2, Fill::Between(2.0, 4.0)).with(3, Fill::Uniform(largest)));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::cpu::Cpu;
    use crate::engine::device::{Device, HostData};
    use crate::engine::plan::Plan;
    use crate::engine::step::Step;
    use crate::engine::tape::Tape;
    use std::sync::Arc;

    const WIDTH: usize = 2 * 3 * 5;

    /// [out, dqkv] of one row.
    fn run(op: Attention, time: usize, qkv: &[f32], dout: &[f32], segments: Option<&[u32]>) -> [Vec<f32>; 2] {
        let mut tape = Tape::new("test");
        let mut operands = vec![tape.input("qkv", Spec::f32([1, time, WIDTH]))];
        operands.extend(segments.map(|_| tape.input("segments", Spec::u32([1, time]))));
        let given = tape.input("dout", Spec::f32([1, time, WIDTH / 3]));
        let outputs = tape.apply(op, &operands).unwrap();
        let mut backward = vec![operands[0], outputs[0], outputs[1], given];
        backward.extend(operands.get(1));
        let dqkv = tape.apply_one(AttentionBackward(op), &backward).unwrap();
        let mut cpu = Cpu::<f64>::default();
        let id = cpu.load(&Arc::new(Plan::new(&tape, &[outputs[0], dqkv]).unwrap()), 0).unwrap();
        cpu.set_input(id, "qkv", HostData::F32(qkv)).unwrap();
        cpu.set_input(id, "dout", HostData::F32(dout)).unwrap();
        if let Some(segments) = segments {
            cpu.set_input(id, "segments", HostData::U32(segments)).unwrap();
        }
        cpu.run(id, 0, &Step::default()).unwrap();
        let results = cpu.results(true).unwrap().unwrap();
        [results[0].clone(), results[1].clone()]
    }

    /// Sequences longer and shorter than a block of queries, one after the other in a row, against each in a row of
    /// its own: a block sees keys from the middle of the row on.
    #[test]
    fn sequences_in_a_row_attend_as_they_would_alone() {
        let lengths = [70, 3, 90, 41];
        let time: usize = lengths.iter().sum();
        let numbers = |n: usize, salt: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7919 + salt) % 1013) as f32 / 506.5 - 1.0).collect()
        };
        let (qkv, dout) = (numbers(time * WIDTH, 1), numbers(time * WIDTH / 3, 5));
        let segments: Vec<u32> =
            lengths.iter().enumerate().flat_map(|(i, &n)| std::iter::repeat_n(i as u32, n)).collect();
        for causal in [true, false] {
            let op = Attention { alibi: true, ..Attention::new(2, causal) };
            let [out, dqkv] = run(op, time, &qkv, &dout, Some(&segments));
            let mut first = 0;
            for n in lengths {
                let part = |x: &[f32], width: usize| x[first * width..][..n * width].to_vec();
                let (of_qkv, of_dout) = (part(&qkv, WIDTH), part(&dout, WIDTH / 3));
                let alone = run(op, n, &of_qkv, &of_dout, None);
                for (got, want) in [part(&out, WIDTH / 3), part(&dqkv, WIDTH)].iter().zip(&alone) {
                    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{n} from {first} on");
                }
                first += n;
            }
        }
    }
}
