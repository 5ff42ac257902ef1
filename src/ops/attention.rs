//! attention: out = softmax(q kᵀ/√D) v per head (Vaswani et al. 2017), without ever keeping the scores.
//!
//! Blocks of queries meet the keys they see and are done (Dao et al. 2022); only the logarithm of each
//! query's sum of exponentials stays, from which the backward pass finds its probabilities again.

use rayon::prelude::*;

use crate::engine::hash::threshold;
use crate::engine::matrix::MatMut;
use crate::ops::attention_backward::AttentionBackward;
use crate::ops::attention_bias::{Bias, alibi_heads, alibi_step};
use crate::ops::attention_cases::{bound, forms};
use crate::ops::attention_common::{BLOCK, Extent, Mask, attend, variants};
use crate::ops::heads::{batch_ranges, expect_grouped};
use crate::ops::prelude::*;
use crate::ops::softmax::softmax_start;

pub static ATTENTION: OpInfo =
    OpInfo { name: "attention", formula: "out = softmax(s) v, lse = log Σ exp(s), s = q kᵀ/√D", cases };

/// (qkv (B, T, (n_head + 2 n_kv_head)·D), the queries, keys and values of all heads side by side,
/// [segments (B, T)]) → out (B, T, n_head·D), lse (B, n_head, T).
///
/// Segments number the sequences packed into a row: a query sees only keys of its own.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub n_head: usize,
    /// Heads of keys and values, each shared by n_head / n_kv_head heads of queries: grouped-query attention
    /// (Ainslie et al. 2023), with 1 multi-query attention (Shazeer 2019).
    pub n_kv_head: usize,
    /// A query sees no later key.
    pub causal: bool,
    /// The keys that a query of causal attention sees, its own the last (Beltagy et al. 2020); 0 for all before it.
    pub window: usize,
    /// What q·k is multiplied by; `None` for 1/√D.
    pub scale: Option<f32>,
    /// Scores sink with distance, each head's by its own slope (Press et al. 2022).
    pub alibi: bool,
    /// The share of probabilities that are set to zero.
    pub dropout: f32,
    /// Makes the dropout masks of one step differ.
    pub salt: u32,
}

/// What the heads of one application share.
#[derive(Clone, Copy)]
struct Given<'a, F> {
    qkv: &'a [F],
    segments: Option<&'a [u32]>,
    mask: Option<Mask>,
}

impl Attention {
    /// Multi-head attention without anything else.
    pub fn new(n_head: usize, causal: bool) -> Self {
        Self {
            n_head,
            n_kv_head: n_head,
            causal,
            window: 0,
            scale: None,
            alibi: false,
            dropout: 0.0,
            salt: 0,
        }
    }

    pub(super) fn extent(&self, qkv: Shape) -> Extent {
        let (dims, n_head, n_kv_head) = (qkv.dims(), self.n_head, self.n_kv_head);
        let width = dims[2] / (n_head + 2 * n_kv_head);
        Extent { batch: dims[0], time: dims[1], n_head, n_kv_head, width }
    }

    /// The types of out and lse.
    pub(super) fn results(&self, qkv: Spec, segments: Option<&Spec>) -> Result<[Spec; 2], OpError> {
        expect_grouped("qkv", qkv, self.n_head, self.n_kv_head)?;
        if let Some(&segments) = segments {
            expect("segments", segments, Spec::u32([qkv.shape.dims()[0], qkv.shape.dims()[1]]))?;
        }
        if self.window > 0 && !self.causal {
            return Err(OpError::new("only causal attention has a window"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(OpError::new(format!("dropout {} is not a probability below 1", self.dropout)));
        }
        let e = self.extent(qkv.shape);
        Ok([Spec::f32([e.batch, e.time, e.channels()]), Spec::f32([e.batch, e.n_head, e.time])])
    }

    /// What scores are multiplied by.
    pub(super) fn scale(&self, e: &Extent) -> f64 {
        self.scale.map_or(1.0 / (e.width as f64).sqrt(), f64::from)
    }

    /// How many keys are seen by query `t`.
    #[inline(always)]
    pub(super) fn seen(&self, t: usize, time: usize) -> usize {
        if self.causal { t + 1 } else { time }
    }

    /// The settings of every kernel of this op; `first` is the first item of the batch that it is bound to. What is a
    /// constant makes pipelines to compile, so only what costs much in the innermost loops is one.
    pub(super) fn describe(&self, shader: Shader, e: &Extent, first: usize) -> Dispatch {
        let dispatch = Dispatch::new(shader);
        // Kernels that keep rows in registers have as many as channels; tiles are 32 channels wide.
        let dispatch = match shader.name.contains("plain") {
            true => dispatch.constant("WIDTH", e.width as u32),
            false => dispatch
                .constant("PARTS", e.width.div_ceil(32) as u32)
                .constant("WINDOWED", (self.window > 0).into())
                .param("width", e.width),
        };
        let dispatch =
            dispatch.constant("DROPOUT", (self.dropout > 0.0).into()).constant("ALIBI", self.alibi.into());
        self.settings(dispatch, e, first)
    }

    /// The parameters of [`describe`](Self::describe).
    pub(super) fn settings(&self, dispatch: Dispatch, e: &Extent, first: usize) -> Dispatch {
        let window = if self.window == 0 { e.time } else { self.window.min(e.time) };
        dispatch
            .param("causal", self.causal)
            .param("window", window)
            .param("first", first * e.n_head)
            .param("n_head", e.n_head)
            .param("n_kv_head", e.n_kv_head)
            .param("time", e.time)
            .param("scale", self.scale(e) as f32)
            .param("salt", self.salt)
            .param("threshold", threshold(self.dropout))
            .param("keep_scale", 1.0 / (1.0 - self.dropout))
            .param("alibi_heads", alibi_heads(e.n_head))
            .param("alibi_step", alibi_step(e.n_head))
    }

    /// Binds the segments of items `first..first + n`. Without any, qkv is bound to their variable and not read.
    pub(super) fn bind_segments(
        dispatch: Dispatch,
        operand: Option<usize>,
        e: &Extent,
        (first, n): (usize, usize),
    ) -> Dispatch {
        Self::bind_segments_alone(dispatch, operand, e, (first, n))
            .constant("SEGMENTS", operand.is_some().into())
    }

    /// Binds the segments for a shader whose parameters say whether there are any.
    pub(super) fn bind_segments_alone(
        dispatch: Dispatch,
        operand: Option<usize>,
        e: &Extent,
        (first, n): (usize, usize),
    ) -> Dispatch {
        let (operand, width) = operand.map_or((0, e.time * e.row()), |operand| (operand, e.time));
        dispatch.bind_part("segments", In(operand), first * width, n * width)
    }

    /// Multiply-adds of one product of scores' size.
    pub(super) fn product_flops(&self, e: &Extent) -> u64 {
        let mut pairs = if self.causal { e.time * (e.time + 1) / 2 } else { e.time * e.time };
        if self.window > 0 {
            let beyond = e.time.saturating_sub(self.window);
            pairs -= beyond * (beyond + 1) / 2;
        }
        2 * (e.batch * e.n_head * pairs * e.width) as u64
    }

    /// One head: its rows of `out` and `lse`.
    fn head<F: Real>(
        &self,
        e: &Extent,
        given: Given<F>,
        head: usize,
        (mut out, lse): (MatMut<F>, &mut [F]),
        scores: &mut [F],
    ) {
        let (b, h, row) = (head / e.n_head, head % e.n_head, e.row());
        let [key, value] = e.shared(h);
        let segments = given.segments.map(|segments| &segments[b * e.time..][..e.time]);
        let bias = Bias::new(self.alibi, [e.n_head, h], self.window, segments);
        for first in (0..e.time).step_by(BLOCK) {
            let rows = BLOCK.min(e.time - first);
            let queries = first..first + rows;
            let keys = bias.keys(queries.clone(), self.seen(first + rows - 1, e.time));
            let q = e.view(given.qkv, row, [b, h], &queries);
            let k = e.view(given.qkv, row, [b, key], &keys);
            let v = e.view(given.qkv, row, [b, value], &keys);
            let (mut block, rest) = out.split_rows(rows);
            attend(
                &mut block,
                [q, k, v],
                [rows, keys.len()],
                F::of(self.scale(e)),
                scores,
                #[inline(always)]
                |i, p| {
                    let t = first + i;
                    let seen = self.seen(t, keys.end) - keys.start;
                    bias.apply(t, keys.start, &mut p[..seen]);
                    lse[t] = softmax_start(p, seen);
                    if let Some(mask) = given.mask {
                        mask.apply(&mut p[..seen], head, [t, keys.start], e.time);
                    }
                },
            );
            out = rest;
        }
    }
}

impl Op for Attention {
    fn info(&self) -> &'static OpInfo {
        &ATTENTION
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 2)?;
        Ok(self.results(inputs[0], inputs.get(1))?.into())
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let e = self.extent(operands.in_shape(0));
        let [qkv, out, lse] = [e.time * e.row(), e.time * e.channels(), e.time * e.n_head];
        let segments = (operands.inputs.len() > 1).then_some(1);
        let kernel = |variant, shader, queries_per_group: usize| {
            let part = |(first, n): (usize, usize)| {
                let heads = n * e.n_head;
                let dispatch = self.describe(shader, &e, first);
                Self::bind_segments(dispatch, segments, &e, (first, n))
                    .bind_part("qkv", In(0), first * qkv, n * qkv)
                    .bind_part("out", Out(0), first * out, n * out)
                    .bind_part("lse", Out(1), first * lse, n * lse)
                    .param("heads", heads)
                    .groups(heads * e.time.div_ceil(queries_per_group), target)
            };
            let mut widths = vec![qkv, out, lse];
            widths.extend(segments.map(|_| e.time));
            let ranges = batch_ranges(target, e.batch, &widths);
            Kernel::new(variant, ranges.into_iter().map(part).collect())
        };
        let plain = kernel("plain", shader!("attention/plain", "hash", "step", "alibi", "segments"), 64);
        let flash =
            kernel("flash", shader!("attention/flash", "hash", "step", "alibi", "segments", "tiles"), 64);
        variants(plain, flash, &e, target)
    }

    /// Only `out` carries a gradient: lse is kept for the derivative and for looking at.
    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let mut operands = vec![at.inputs[0], at.outputs[0], at.outputs[1], at.upstream(0)?];
        operands.extend(at.inputs.get(1));
        let mut gradients = vec![None; at.inputs.len()];
        gradients[0] = Some(record_one(tape, AttentionBackward(*self), &operands)?);
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let e = self.extent(operands.in_shape(0));
        Cost { flops: 2 * self.product_flops(&e), bytes: operands.bytes() }
    }
}

impl Twin for Attention {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let e = self.extent(io.in_shape(0));
        let given = Given {
            qkv: io.input(0),
            segments: (io.n_inputs() > 1).then(|| io.indices(1)),
            mask: Mask::new(self.dropout, io.step().seed, self.salt),
        };
        let [out, lse] = io.outputs();
        MatMut::new(out, e.batch * e.time, e.channels())
            .blocks(e.time, e.width)
            .into_par_iter()
            .zip(lse.par_chunks_mut(e.time))
            .enumerate()
            .for_each_init(
                || vec![F::ZERO; BLOCK.min(e.time) * e.time],
                |scores, (head, results)| self.head(&e, given, head, results, scores),
            );
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in forms() {
        for largest in [1.0, 6.0, 1e2] {
            let bound = bound([form.time, form.width], form.op.alibi, largest.into());
            cases.push(form.case(form.op, &[form.qkv()], bound).with(0, Fill::Uniform(largest)));
        }
    }
    cases
}
