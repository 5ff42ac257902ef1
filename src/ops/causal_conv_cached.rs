//! causal_conv_cached: `causal_conv` of new tokens, those before them kept as far as the taps reach. Streams of
//! tokens may be decoded side by side.

use crate::ops::heads::batch_ranges;
use crate::ops::prelude::*;

pub static CAUSAL_CONV_CACHED: OpInfo = OpInfo {
    name: "causal_conv_cached",
    formula: "y_t = x_t + Σ_k w_k x_(t-k), tail ← the last K - 1 of x",
    cases,
};

/// x (B, n, C) of n new tokens of each of B streams, w (K, C) with K ≥ 2, tail (B, K - 1, C) → y, as x, and tail in
/// place.
///
/// New token i of every stream has the step's `position` + i. That of position p lies in row p mod (K - 1) of
/// `tail`, until another takes its place; there is none before position 0.
#[derive(Clone, Copy, Debug)]
pub struct CausalConvCached;

impl Op for CausalConvCached {
    fn info(&self) -> &'static OpInfo {
        &CAUSAL_CONV_CACHED
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let (x, taps) = (inputs[0], inputs[1].shape.rows());
        if x.shape.dims().len() != 3 || x != Spec::f32(x.shape) {
            return Err(OpError::new(format!("operand `x` is {x}, not numbers (B, n, C)")));
        }
        if taps < 2 {
            return Err(OpError::new(format!("operand `w` is {}: one tap needs no tail", inputs[1])));
        }
        expect("w", inputs[1], Spec::f32([taps, x.shape.width()]))?;
        expect("tail", inputs[2], Spec::f32([x.shape.dims()[0], taps - 1, x.shape.width()]))?;
        Ok(vec![x, inputs[2]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(1, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (x, tail) = (operands.in_shape(0), operands.out_shape(1));
        let (batch, n, width, kept) = (x.dims()[0], x.dims()[1], x.width(), tail.dims()[1]);
        let (item, stored) = (n * width, n.min(kept));
        let part = |(first, streams): (usize, usize)| {
            let bound = |shader| {
                Dispatch::new(shader)
                    .bind_part("x", In(0), first * item, streams * item)
                    .bind_part("tail", Out(1), first * kept * width, streams * kept * width)
                    .param("n", n)
                    .param("width", width)
            };
            let convolve = bound(shader!("causal_conv_cached/convolve", "step"))
                .constant("TAPS", kept as u32 + 1)
                .bind("w", In(1))
                .bind_part("y", Out(0), first * item, streams * item)
                .elements(streams * item, target);
            let store = bound(shader!("causal_conv_cached/store", "step"))
                .param("m", stored)
                .param("kept", kept)
                .elements(streams * stored * width, target);
            [convolve, store]
        };
        let ranges = batch_ranges(target, batch, &[item, kept * width]);
        Kernel::plain(ranges.into_iter().flat_map(part).collect())
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let (x, taps) = (operands.in_shape(0).len(), operands.in_shape(1).rows());
        Cost { flops: 2 * (x * taps) as u64, bytes: operands.bytes() }
    }
}

impl Twin for CausalConvCached {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, w, position) = (io.input(0), io.input(1), io.step().position as usize);
        let (n, width, kept) = (io.in_shape(0).dims()[1], io.in_shape(0).width(), io.out_shape(1).dims()[1]);
        let [y, tail] = io.outputs();
        let before = &*tail;
        for_rows(
            [(y, width)],
            w.len(),
            #[inline(always)]
            |row, [y]| {
                let (stream, added) = (row / n, row % n);
                y.copy_from_slice(&x[row * width..][..width]);
                for (k, w) in w.chunks_exact(width).take(position + added + 1).enumerate() {
                    let x = match added.checked_sub(k) {
                        Some(_) => &x[(row - k) * width..][..width],
                        None => &before[(stream * kept + (position + added - k) % kept) * width..][..width],
                    };
                    for ((y, &w), &x) in y.iter_mut().zip(w).zip(x) {
                        *y = w.fma(x, *y);
                    }
                }
            },
        );
        for (row, x) in x.chunks_exact(width).enumerate().filter(|(row, _)| row % n + kept >= n) {
            let to = row / n * kept + (position + row % n) % kept;
            tail[to * width..][..width].copy_from_slice(x);
        }
    }
}

/// (B, n, C, taps, position): nothing before, less than the taps reach, more; fewer new tokens than are kept, and more;
/// so many channels that a grid has several rows; and streams that small bindings can split.
const SHAPES: [[usize; 5]; 10] = [
    [1, 1, 1, 2, 0],
    [1, 1, 33, 3, 1],
    [3, 1, 5, 4, 2],
    [2, 1, 65, 4, 61],
    [2, 2, 7, 5, 3],
    [1, 5, 3, 3, 0],
    [3, 7, 11, 4, 10],
    [1, 67, 2, 2, 5],
    [2, 5, 1650, 4, 3],
    [11, 3, 8, 5, 2],
];

/// Sums of at most taps + 1 terms.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [batch, n, width, taps, position] in SHAPES {
        for largest in [1.0, 1e2] {
            let operands =
                [Spec::f32([batch, n, width]), Spec::f32([taps, width]), Spec::f32([batch, taps - 1, width])];
            let bound = Bound::sum(taps + 1, f64::from(largest));
            let case = Case::new(CausalConvCached, &operands, bound).at_position(position as u32);
            cases.push([0, 2].into_iter().fold(case, |case, i| case.with(i, Fill::Uniform(largest))));
        }
    }
    cases
}
