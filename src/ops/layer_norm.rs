//! layer_norm: y = (x - mean) · rstd · weight + bias (Ba, Kiros & Hinton 2016), over the last dimension.

use crate::ops::layer_norm_weights::{SHAPES, record_weights, with_statistics};
use crate::ops::prelude::*;

pub static LAYER_NORM: OpInfo =
    OpInfo { name: "layer_norm", formula: "y = (x - mean) rstd · weight + bias", cases };
pub static LAYER_NORM_BACKWARD: OpInfo = OpInfo {
    name: "layer_norm_backward",
    formula: "dx = rstd (g - mean(g) - x̂ mean(g x̂)) + dresidual, g = dy · weight",
    cases: backward_cases,
};

/// (x (…, n), weight (n), [bias (n)]) → y (…, n), mean (rows), rstd (rows).
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub eps: f32,
}

/// `(dy, x, weight, [mean], rstd, [dresidual])` → dx: what reaches the norm's input, plus what the residual
/// stream already carries.
#[derive(Debug)]
pub struct LayerNormBackward {
    /// Without it, as in `rms_norm`, no mean is subtracted: neither from x nor from g.
    pub centred: bool,
}

/// The mean and 1/√(variance + eps) of a row, in two passes: the variance of differences cannot cancel.
#[inline(always)]
pub(crate) fn moments<F: Real>(x: &[F], eps: f32) -> (F, F) {
    let n = F::of(x.len() as f64);
    let mean = lanes(
        x,
        #[inline(always)]
        |v| v,
    ) / n;
    let variance = lanes(
        x,
        #[inline(always)]
        |v| (v - mean) * (v - mean),
    ) / n;
    (mean, F::ONE / (variance + F::of(eps.into())).sqrt())
}

/// Σ f(x) in 16 running sums, which vectorise.
#[inline(always)]
pub(crate) fn lanes<F: Real>(x: &[F], f: impl Fn(F) -> F) -> F {
    let mut sums = [F::ZERO; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            sums[i] += f(chunk[i]);
        }
    }
    for (sum, &v) in sums.iter_mut().zip(rest) {
        *sum += f(v);
    }
    sums.into_iter().sum()
}

/// y = (x - mean) rstd weight + bias for one row.
#[inline(always)]
pub(crate) fn normalise<F: Real>(y: &mut [F], x: &[F], mean: F, rstd: F, weight: &[F], bias: Option<&[F]>) {
    match bias {
        Some(bias) => {
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * rstd * w + b;
            }
        }
        None => {
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                *y = (x - mean) * rstd * w;
            }
        }
    }
}

impl LayerNorm {
    pub(crate) fn statistics(x: Spec) -> Spec {
        Spec::f32([x.shape.rows()])
    }
}

impl Op for LayerNorm {
    fn info(&self) -> &'static OpInfo {
        &LAYER_NORM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 3)?;
        for (name, &vector) in ["weight", "bias"].iter().zip(&inputs[1..]) {
            expect_vector(name, vector, inputs[0].shape.width())?;
        }
        let statistics = Self::statistics(inputs[0]);
        Ok(vec![inputs[0], statistics, statistics])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(0);
        let has_bias = operands.inputs.len() > 2;
        // Without a bias, the weight is bound to its variable and not read.
        Kernel::plain(vec![
            Dispatch::new(shader!("layer_norm/forward", "reduce"))
                .constant("BIAS", has_bias.into())
                .bind("x", In(0))
                .bind("weight", In(1))
                .bind("bias", In(if has_bias { 2 } else { 1 }))
                .bind("y", Out(0))
                .bind("mean", Out(1))
                .bind("rstd", Out(2))
                .param("eps", self.eps)
                .rows(x.rows(), x.width(), target),
        ])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let (x, weight, mean, rstd) = (at.inputs[0], at.inputs[1], at.outputs[1], at.outputs[2]);
        let dy = at.upstream(0)?;
        let mut gradients = record_weights(tape, at, &[dy, x, mean, rstd], 1)?;
        if at.wanted[0] {
            let op = LayerNormBackward { centred: true };
            gradients[0] = Some(record_one(tape, op, &[dy, x, weight, mean, rstd])?);
        }
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 8 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for LayerNorm {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, weight, width, eps) = (io.input(0), io.input(1), io.in_shape(0).width(), self.eps);
        let bias = (io.n_inputs() > 2).then(|| io.input(2));
        let [y, mean, rstd] = io.outputs();
        for_rows(
            [(y, width), (mean, 1), (rstd, 1)],
            width,
            #[inline(always)]
            |row, [y, mean, rstd]| {
                let x = &x[row * width..][..width];
                (mean[0], rstd[0]) = moments(x, eps);
                normalise(y, x, mean[0], rstd[0], weight, bias);
            },
        );
    }
}

impl Op for LayerNormBackward {
    fn info(&self) -> &'static OpInfo {
        &LAYER_NORM_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 4 + usize::from(self.centred);
        expect_operands(inputs, n, n + 1)?;
        expect("dy", inputs[0], inputs[1])?;
        expect_vector("weight", inputs[2], inputs[1].shape.width())?;
        for (name, &statistic) in ["rstd", "mean"].iter().zip(inputs[3..n].iter().rev()) {
            expect(name, statistic, LayerNorm::statistics(inputs[1]))?;
        }
        if let Some(&residual) = inputs.get(n) {
            expect("dresidual", residual, inputs[1])?;
        }
        Ok(vec![inputs[1]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(1);
        let rstd = 3 + usize::from(self.centred);
        let has_residual = operands.inputs.len() > rstd + 1;
        // The variable of a missing operand has another bound to it, which is not read.
        Kernel::plain(vec![
            Dispatch::new(shader!("layer_norm/backward", "reduce"))
                .constant("CENTRED", self.centred.into())
                .constant("RESIDUAL", has_residual.into())
                .bind("dy", In(0))
                .bind("x", In(1))
                .bind("weight", In(2))
                .bind("mean", In(3))
                .bind("rstd", In(rstd))
                .bind("dresidual", In(if has_residual { rstd + 1 } else { 0 }))
                .bind("dx", Out(0))
                .rows(x.rows(), x.width(), target),
        ])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 12 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for LayerNormBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let at = 3 + usize::from(self.centred);
        let [dy, x, weight, rstd] = [0, 1, 2, at].map(|i| io.input(i));
        let mean = self.centred.then(|| io.input(3));
        let residual = (io.n_inputs() > at + 1).then(|| io.input(at + 1));
        let width = io.in_shape(0).width();
        let n = F::of(width as f64);
        let [dx] = io.outputs();
        for_rows(
            [(dx, width)],
            2 * width,
            #[inline(always)]
            |row, [dx]| {
                let (dy, x) = (&dy[row * width..][..width], &x[row * width..][..width]);
                let (centre, rstd) = (mean.map_or(F::ZERO, |mean| mean[row]), rstd[row]);
                let (mut sum, mut sum_x) = ([F::ZERO; 16], [F::ZERO; 16]);
                for ((dy, x), w) in dy.chunks(16).zip(x.chunks(16)).zip(weight.chunks(16)) {
                    for (i, ((&dy, &x), &w)) in dy.iter().zip(x).zip(w).enumerate() {
                        let g = dy * w;
                        sum[i] += g;
                        sum_x[i] += g * (x - centre) * rstd;
                    }
                }
                let mean_g = if mean.is_some() { sum.into_iter().sum::<F>() / n } else { F::ZERO };
                let mean_gx = sum_x.into_iter().sum::<F>() / n;
                for (((dx, &dy), &x), &w) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
                    *dx = rstd * (dy * w - mean_g - (x - centre) * rstd * mean_gx);
                }
                if let Some(residual) = residual {
                    dx.iter_mut().zip(&residual[row * width..]).for_each(|(dx, &r)| *dx += r);
                }
            },
        );
    }
}

/// The mean of n terms of size |x| carries √n units of |x|; subtracting it and multiplying by rstd (at most a
/// few for inputs spread over ±1) leaves that error on results of size 1 to √n.
fn bound(width: usize, largest: f64) -> Bound {
    Bound::new(8.0, 16.0 * (width as f64).sqrt() * largest)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for bias in [false, true] {
            let vector = Spec::f32([shape[1]]);
            let mut operands = vec![Spec::f32(shape), vector];
            operands.extend(bias.then_some(vector));
            cases.push(
                Case::new(LayerNorm { eps: 1e-5 }, &operands, bound(shape[1], 6.0))
                    .with(0, Fill::Uniform(6.0)),
            );
        }
    }
    let operands = [Spec::f32([3, 70]), Spec::f32([70])];
    // Equal rows: the variance is rounding noise below eps, magnified by 1/√eps = 316.
    let all_equal = Case::new(LayerNorm { eps: 1e-5 }, &operands, Bound::new(8.0, 316.0 * 16.0 * 3.0));
    cases.push(all_equal.with(0, Fill::Constant(3.0)));
    cases.push(Case::new(LayerNorm { eps: 1e-5 }, &operands, bound(70, 6.0)).with(0, Fill::Uniform(1e4)));
    cases
}

fn backward_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for residual in [false, true] {
            let (x, vector, rows) = (Spec::f32(shape), Spec::f32([shape[1]]), Spec::f32([shape[0]]));
            let mut operands = vec![x, x, vector, rows, rows];
            operands.extend(residual.then_some(x));
            let bound = bound(shape[1], 2.0);
            cases.push(with_statistics(Case::new(LayerNormBackward { centred: true }, &operands, bound), 3));
            operands.remove(3);
            let case = Case::new(LayerNormBackward { centred: false }, &operands, bound);
            cases.push(case.with(3, Fill::Between(1.0, 2.0)));
        }
    }
    cases
}
