//! causal_conv: a token's channels and, weighted, those of the few tokens before it, each channel by itself: a
//! depthwise convolution over time. What a head looks for can then be "the token after that one" (Olsson et al.
//! 2022, who smear keys; So et al. 2021, Primer; Allen-Zhu 2025, in this form, with the token itself added).

use crate::ops::heads::batch_ranges;
use crate::ops::prelude::*;

pub static CAUSAL_CONV: OpInfo =
    OpInfo { name: "causal_conv", formula: "y_t = x_t + Σ_k w_k x_(t-k)", cases };
pub static CAUSAL_CONV_WEIGHTS: OpInfo =
    OpInfo { name: "causal_conv_weights", formula: "dw_k = Σ_t dy_t x_(t-k)", cases: weights_cases };

/// (x (B, T, C), w (K, C), [segments (B, T)]) → y, as x. Only tokens of a row with equal numbers in `segments`
/// reach each other.
#[derive(Clone, Copy, Debug)]
pub struct CausalConv {
    /// Of the tokens after it instead: the derivative.
    pub transposed: bool,
}

/// (x (B, T, C), dy, as x, [segments (B, T)]) → dw (taps, C).
#[derive(Clone, Copy, Debug)]
pub struct CausalConvWeights {
    /// K.
    pub taps: usize,
}

/// Which tokens reach which.
#[derive(Clone, Copy)]
struct Rows<'a> {
    time: usize,
    segments: Option<&'a [u32]>,
}

impl<'a> Rows<'a> {
    /// Those of operands x and, where they are given, segments.
    fn of<F: Real>(io: &Io<'a, F>) -> Self {
        Self { time: io.in_shape(0).dims()[1], segments: (io.n_inputs() > 2).then(|| io.indices(2)) }
    }

    /// The row `k` tokens before `row`, if there is one in its sequence.
    #[inline(always)]
    fn before(self, row: usize, k: usize) -> Option<usize> {
        (k <= row % self.time && self.together(row - k, row)).then(|| row - k)
    }

    /// The row `k` tokens after `row`, if there is one in its sequence.
    #[inline(always)]
    fn after(self, row: usize, k: usize) -> Option<usize> {
        (row % self.time + k < self.time && self.together(row, row + k)).then_some(row + k)
    }

    #[inline(always)]
    fn together(self, a: usize, b: usize) -> bool {
        self.segments.is_none_or(|segments| segments[a] == segments[b])
    }
}

/// Checks x (B, T, C) and, where they are given, segments (B, T).
fn expect_sequences(x: Spec, segments: Option<&Spec>) -> Result<(), OpError> {
    let dims = x.shape.dims();
    if dims.len() != 3 || x != Spec::f32(x.shape) {
        return Err(OpError::new(format!("operand `x` is {x}, not numbers (B, T, C)")));
    }
    segments.map_or(Ok(()), |&segments| expect("segments", segments, Spec::u32([dims[0], dims[1]])))
}

/// Binds operand 2, the segments, of items `first..first + n`; without it, x is bound to its variable and not read.
fn bind_segments(dispatch: Dispatch, operands: &Operands, (first, n): (usize, usize)) -> Dispatch {
    let given = operands.inputs.len() > 2;
    let operand = if given { 2 } else { 0 };
    let width = operands.in_shape(operand).len() / operands.in_shape(0).dims()[0];
    dispatch.constant("SEGMENTS", given.into()).bind_part("segments", In(operand), first * width, n * width)
}

/// Items of the batch that are bound together.
fn parts(target: &Target, x: Shape) -> Vec<(usize, usize)> {
    let (batch, time, width) = (x.dims()[0], x.dims()[1], x.width());
    batch_ranges(target, batch, &[time * width, time])
}

impl Op for CausalConv {
    fn info(&self) -> &'static OpInfo {
        &CAUSAL_CONV
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 3)?;
        let (x, w) = (inputs[0], inputs[1]);
        expect_sequences(x, inputs.get(2))?;
        expect("w", w, Spec::f32([w.shape.rows(), x.shape.width()]))?;
        Ok(vec![x])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (x, w) = (operands.in_shape(0), operands.in_shape(1));
        let item = x.dims()[1] * x.width();
        let part = |(first, n): (usize, usize)| {
            let dispatch = Dispatch::new(shader!("causal_conv/forward"))
                .constant("TAPS", w.rows() as u32)
                .constant("TRANSPOSED", self.transposed.into())
                .bind_part("x", In(0), first * item, n * item)
                .bind("w", In(1));
            bind_segments(dispatch, operands, (first, n))
                .bind_part("y", Out(0), first * item, n * item)
                .param("time", x.dims()[1])
                .param("width", x.width())
                .elements(n * item, target)
        };
        Kernel::plain(parts(target, x).into_iter().map(part).collect())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dy = at.upstream(0)?;
        let [x, w] = [at.inputs[0], at.inputs[1]];
        let with = |first: Var, second: Var| [&[first, second], &at.inputs[2..]].concat();
        let mut gradients = vec![None; at.inputs.len()];
        if at.wanted[0] {
            let transpose = Self { transposed: !self.transposed };
            gradients[0] = Some(record_one(tape, transpose, &with(dy, w))?);
        }
        if at.wanted[1] {
            let taps = tape.spec(w).shape.rows();
            // Σ_t dy_t x_(t+k) is Σ_t x_t dy_(t-k).
            let operands = if self.transposed { with(dy, x) } else { with(x, dy) };
            gradients[1] = Some(record_one(tape, CausalConvWeights { taps }, &operands)?);
        }
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let (x, taps) = (operands.in_shape(0).len(), operands.in_shape(1).rows());
        Cost { flops: 2 * (x * taps) as u64, bytes: operands.bytes() }
    }
}

impl Twin for CausalConv {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, w) = (io.input(0), io.input(1));
        let (rows, width) = (Rows::of(io), io.in_shape(0).width());
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            w.len(),
            #[inline(always)]
            |row, [y]| {
                y.copy_from_slice(&x[row * width..][..width]);
                for (k, w) in w.chunks_exact(width).enumerate() {
                    let from = if self.transposed { rows.after(row, k) } else { rows.before(row, k) };
                    let Some(from) = from else { continue };
                    let x = &x[from * width..][..width];
                    for ((y, &w), &x) in y.iter_mut().zip(w).zip(x) {
                        *y = w.fma(x, *y);
                    }
                }
            },
        );
    }
}

impl Op for CausalConvWeights {
    fn info(&self) -> &'static OpInfo {
        &CAUSAL_CONV_WEIGHTS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 3)?;
        expect_sequences(inputs[0], inputs.get(2))?;
        expect("dy", inputs[1], inputs[0])?;
        if self.taps == 0 {
            return Err(OpError::new("a convolution has at least one tap"));
        }
        Ok(vec![Spec::f32([self.taps, inputs[0].shape.width()])])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(0);
        let (time, width) = (x.dims()[1], x.width());
        let part = |(first, n): (usize, usize)| {
            let (from, len) = (first * time * width, n * time * width);
            let dispatch = Dispatch::new(shader!("causal_conv/weights"))
                .bind_part("x", In(0), from, len)
                .bind_part("dy", In(1), from, len);
            bind_segments(dispatch, operands, (first, n))
                .bind("dw", Out(0))
                .param("rows", n * time)
                .param("time", time)
                .param("width", width)
                .param("accumulate", first > 0)
                .grid(width.div_ceil(16), self.taps, 1)
        };
        Kernel::plain(parts(target, x).into_iter().map(part).collect())
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 2 * (operands.in_shape(0).len() * self.taps) as u64, bytes: operands.bytes() }
    }
}

impl Twin for CausalConvWeights {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, dy) = (io.input(0), io.input(1));
        let (rows, width) = (Rows::of(io), io.in_shape(0).width());
        let [dw] = io.outputs();
        for_rows(
            [(dw, width)],
            x.len(),
            #[inline(always)]
            |k, [dw]| {
                dw.fill(F::ZERO);
                for (row, dy) in dy.chunks_exact(width).enumerate() {
                    let Some(from) = rows.before(row, k) else { continue };
                    let x = &x[from * width..][..width];
                    for ((dw, &dy), &x) in dw.iter_mut().zip(dy).zip(x) {
                        *dw = dy.fma(x, *dw);
                    }
                }
            },
        );
    }
}

/// ((B, T, C, taps), numbers of segments): one tap and one token, more taps than tokens, rows that small bindings
/// can split, more channels and more rows than a workgroup takes.
const SHAPES: [([usize; 4], Option<u32>); 8] = [
    ([1, 1, 1, 1], None),
    ([2, 3, 5, 4], None),
    ([2, 7, 3, 2], Some(2)),
    ([1, 19, 33, 3], Some(3)),
    ([3, 2, 6, 5], Some(2)),
    ([2, 67, 70, 4], None),
    ([11, 3, 8, 3], None),
    ([9, 8, 8, 3], Some(2)),
];

/// `op` of x to ±`largest`, `second` to ±1 and perhaps segments: sums of up to `terms` products.
fn case(
    op: impl AnyOp,
    [batch, time, width, _]: [usize; 4],
    second: Spec,
    segments: Option<u32>,
    terms: usize,
    largest: f32,
) -> Case {
    let x = Spec::f32([batch, time, width]);
    let operands: Vec<_> =
        [x, second].into_iter().chain(segments.map(|_| Spec::u32([batch, time]))).collect();
    let case = Case::new(op, &operands, Bound::sum(terms, largest.into())).with(0, Fill::Uniform(largest));
    segments.into_iter().fold(case, |case, numbers| case.with(2, Fill::Index(numbers)))
}

/// Sums of at most taps + 1 terms.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape @ [_, _, width, taps], segments) in SHAPES {
        for (transposed, largest) in [(false, 1.0), (true, 1.0), (false, 1e2), (true, 6.0)] {
            let w = Spec::f32([taps, width]);
            cases.push(case(CausalConv { transposed }, shape, w, segments, taps + 1, largest));
        }
    }
    cases
}

/// Sums over all rows.
fn weights_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape @ [batch, time, width, taps], segments) in SHAPES {
        for largest in [1.0, 1e2] {
            let dy = Spec::f32([batch, time, width]);
            cases.push(case(CausalConvWeights { taps }, shape, dy, segments, batch * time, largest));
        }
    }
    cases
}
