//! softmax: y_s = exp(x_s) / Σ_j exp(x_j) along rows; optionally of causal attention scores only.
//!
//! Between two matrix products it is attention written out: what a learner reads before the fused op, and
//! what the fused op is checked against.

use crate::ops::prelude::*;

pub static SOFTMAX: OpInfo = OpInfo { name: "softmax", formula: "y_s = exp(x_s) / Σ_j exp(x_j)", cases };
pub static SOFTMAX_BACKWARD: OpInfo =
    OpInfo { name: "softmax_backward", formula: "dx_s = y_s (dy_s - Σ_j y_j dy_j)", cases: backward_cases };

/// Softmax of the rows of x (…, width).
///
/// With `causal`, x is (heads, T, T) attention scores, and a query t sees only the keys s ≤ t: y is 0 at the
/// others.
#[derive(Debug)]
pub struct Softmax {
    pub causal: bool,
}

/// dx from y and dy, both (…, width). Excluded elements need no care: their y is 0.
#[derive(Debug)]
pub struct SoftmaxBackward;

impl Softmax {
    /// How many elements at the beginning of row `row` take part.
    fn seen(&self, row: usize, width: usize) -> usize {
        if self.causal { row % width + 1 } else { width }
    }
}

/// x ← exp(x - max x) / Σ exp(x - max x) over the first `seen` elements, 0 after them; returns log Σ exp(x).
#[inline(always)]
pub fn softmax_start<F: Real>(x: &mut [F], seen: usize) -> F {
    let (x, excluded) = x.split_at_mut(seen);
    excluded.fill(F::ZERO);
    let max = largest(x);
    for x in x.iter_mut() {
        *x = (*x - max).exp();
    }
    let sum = sum(x);
    let scale = F::ONE / sum;
    for x in x.iter_mut() {
        *x *= scale;
    }
    max + sum.ln()
}

/// As many running values as keep a processor's vector units busy.
const LANES: usize = 32;

#[inline(always)]
fn largest<F: Real>(x: &[F]) -> F {
    // NaN compares false, so it would be passed over; the exponentials bring it back into every element.
    let larger = |a: F, b: F| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [x[0]; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    rest.iter().chain(&lanes).fold(x[0], |max, &x| larger(max, x))
}

#[inline(always)]
fn sum<F: Real>(x: &[F]) -> F {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [F::ZERO; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    rest.iter().copied().sum::<F>() + lanes.into_iter().sum::<F>()
}

/// Two ways to walk a row: one invocation for all of it, or a workgroup that shares it. A rasteriser on the
/// CPU prefers the first, a GPU the second.
fn row_kernels(
    plain: Shader,
    shared: Shader,
    operands: &[(&'static str, Operand)],
    of: Spec,
    causal: Option<bool>,
    target: &Target,
) -> Vec<Kernel> {
    let (rows, width) = (of.shape.rows(), of.shape.width());
    let kernel = |variant, shader, rows_per_group: usize| {
        let part = |(first, n): (usize, usize)| {
            let bound = operands.iter().fold(Dispatch::new(shader), |d, &(name, at)| {
                d.bind_part(name, at, first * width, n * width)
            });
            let bound = match causal {
                Some(causal) => bound.param("first", first).param("causal", causal),
                None => bound,
            };
            bound.param("rows", n).param("width", width).groups(n.div_ceil(rows_per_group), target)
        };
        Kernel::new(variant, target.row_chunks(rows, width).into_iter().map(part).collect())
    };
    let mut kernels = vec![kernel("plain", plain, 64), kernel("shared", shared, 1)];
    if target.software {
        kernels.swap(0, 1);
    }
    kernels
}

impl Op for Softmax {
    fn info(&self) -> &'static OpInfo {
        &SOFTMAX
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        let shape = inputs[0].shape;
        if self.causal && (!shape.rows().is_multiple_of(shape.width()) || shape.dims().len() < 2) {
            return Err(OpError::new(format!("operand `x` is {}, not square scores (…, T, T)", inputs[0])));
        }
        Ok(vec![Spec::f32(shape)])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (plain, shared) = (shader!("softmax/plain"), shader!("softmax/shared", "reduce"));
        let bindings = [("x", In(0)), ("y", Out(0))];
        row_kernels(plain, shared, &bindings, operands.outputs[0], Some(self.causal), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![Some(record_one(tape, SoftmaxBackward, &[at.outputs[0], at.upstream(0)?])?)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 5 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for Softmax {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, width) = (io.input(0), io.out_shape(0).width());
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            4 * width,
            #[inline(always)]
            |row, [y]| {
                y.copy_from_slice(&x[row * width..][..width]);
                softmax_start(y, self.seen(row, width));
            },
        );
    }
}

impl Op for SoftmaxBackward {
    fn info(&self) -> &'static OpInfo {
        &SOFTMAX_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("dy", inputs[1], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let plain = shader!("softmax/backward_plain");
        let shared = shader!("softmax/backward_shared", "reduce");
        let bindings = [("y", In(0)), ("dy", In(1)), ("dx", Out(0))];
        row_kernels(plain, shared, &bindings, operands.outputs[0], None, target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 4 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for SoftmaxBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (y, dy, width) = (io.input(0), io.input(1), io.out_shape(0).width());
        let [dx] = io.outputs();
        for_rows(
            [(dx, width)],
            2 * width,
            #[inline(always)]
            |row, [dx]| {
                let (y, dy) = (&y[row * width..][..width], &dy[row * width..][..width]);
                dx.iter_mut().zip(y.iter().zip(dy)).for_each(|(dx, (&y, &dy))| *dx = y * dy);
                let mean = sum(dx);
                dx.iter_mut().zip(y.iter().zip(dy)).for_each(|(dx, (&y, &dy))| *dx = y * (dy - mean));
            },
        );
    }
}

/// (heads, T) or (rows, width), and whether causal. The last has six workgroups of 64 rows: a grid that is
/// folded to rows of three and is not square.
const SHAPES: [([usize; 3], bool); 10] = [
    ([1, 1, 1], false),
    ([1, 1, 1], true),
    ([1, 3, 2], false),
    ([2, 5, 63], false),
    ([1, 67, 65], false),
    ([1, 2, 1009], false),
    ([3, 7, 7], true),
    ([2, 64, 64], true),
    ([1, 131, 131], true),
    ([1, 330, 3], false),
];

/// The exponential's argument x - max is rounded to half a unit of itself and WGSL's exp is good to
/// 3 + 2|x - max| units, but y falls faster than |x - max| grows: y|x - max| ≤ 1/e, a constant. The sum of
/// positive terms walks √width units relative to itself.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, causal) in SHAPES {
        for fill in [Fill::Uniform(6.0), Fill::Uniform(1e2), Fill::Uniform(1e4), Fill::Ties] {
            let bound = Bound::new(8.0 + (shape[2] as f64).sqrt(), 8.0);
            cases.push(Case::new(Softmax { causal }, &[Spec::f32(shape)], bound).with(0, fill));
        }
    }
    cases
}

/// y is drawn below 2/width, as of a row that sums to 1, so Σ y dy has terms whose magnitudes sum to 2.
fn backward_cases() -> Vec<Case> {
    SHAPES
        .map(|(shape, _)| {
            let largest = 2.0 / shape[2] as f32;
            let bound = Bound::new(4.0, 4.0 * (shape[2] as f64).sqrt() * f64::from(largest));
            Case::new(SoftmaxBackward, &[Spec::f32(shape); 2], bound).with(0, Fill::Between(0.0, largest))
        })
        .into()
}
