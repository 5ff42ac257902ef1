//! residual_norm: r = x + branch, y = layer_norm(r): the seam between two blocks of a Transformer, in one pass.

use crate::ops::layer_norm::{LayerNorm, LayerNormBackward, moments, normalise};
use crate::ops::layer_norm_weights::record_weights;
use crate::ops::prelude::*;

pub static RESIDUAL_NORM: OpInfo =
    OpInfo { name: "residual_norm", formula: "r = x + branch, y = layer_norm(r)", cases };

/// (x (…, n), branch (…, n), weight (n), [bias (n)]) → r (…, n), y (…, n), mean (rows), rstd (rows).
#[derive(Clone, Copy, Debug)]
pub struct ResidualNorm {
    pub eps: f32,
}

impl Op for ResidualNorm {
    fn info(&self) -> &'static OpInfo {
        &RESIDUAL_NORM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 4)?;
        expect("branch", inputs[1], inputs[0])?;
        for (name, &vector) in ["weight", "bias"].iter().zip(&inputs[2..]) {
            expect_vector(name, vector, inputs[0].shape.width())?;
        }
        let statistics = LayerNorm::statistics(inputs[0]);
        Ok(vec![inputs[0], inputs[0], statistics, statistics])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(0);
        let has_bias = operands.inputs.len() > 3;
        Kernel::plain(vec![
            Dispatch::new(shader!("residual_norm", "reduce"))
                .constant("BIAS", has_bias.into())
                .bind("x", In(0))
                .bind("branch", In(1))
                .bind("weight", In(2))
                .bind("bias", In(if has_bias { 3 } else { 2 }))
                .bind("r", Out(0))
                .bind("y", Out(1))
                .bind("mean", Out(2))
                .bind("rstd", Out(3))
                .param("eps", self.eps)
                .rows(x.rows(), x.width(), target),
        ])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let (weight, r, mean, rstd) = (at.inputs[2], at.outputs[0], at.outputs[2], at.outputs[3]);
        let Some(dy) = at.upstream[1] else {
            let dr = at.upstream(0)?;
            let mut gradients = vec![Some(dr), Some(dr)];
            gradients.resize(at.inputs.len(), None);
            return Ok(gradients);
        };
        let mut gradients = record_weights(tape, at, &[dy, r, mean, rstd], 2)?;
        let mut operands = vec![dy, r, weight, mean, rstd];
        operands.extend(at.upstream[0]);
        let dr = record_one(tape, LayerNormBackward { centred: true }, &operands)?;
        gradients[0] = Some(dr);
        gradients[1] = Some(dr);
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 9 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for ResidualNorm {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [x, branch, weight] = std::array::from_fn(|i| io.input(i));
        let bias = (io.n_inputs() > 3).then(|| io.input(3));
        let (width, eps) = (io.in_shape(0).width(), self.eps);
        let [r, y, mean, rstd] = io.outputs();
        for_rows(
            [(r, width), (y, width), (mean, 1), (rstd, 1)],
            width,
            #[inline(always)]
            |row, [r, y, mean, rstd]| {
                let at = row * width;
                for ((r, &x), &b) in r.iter_mut().zip(&x[at..]).zip(&branch[at..]) {
                    *r = x + b;
                }
                (mean[0], rstd[0]) = moments(r, eps);
                normalise(y, r, mean[0], rstd[0], weight, bias);
            },
        );
    }
}

/// As for `layer_norm`, of sums up to 2.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 2], [3, 65], [5, 64], [2, 257], [33, 12]] {
        for bias in [false, true] {
            let vector = Spec::f32([shape[1]]);
            let mut operands = vec![Spec::f32(shape), Spec::f32(shape), vector];
            operands.extend(bias.then_some(vector));
            let bound = Bound::new(8.0, 32.0 * (shape[1] as f64).sqrt());
            cases.push(Case::new(ResidualNorm { eps: 1e-5 }, &operands, bound));
        }
    }
    cases
}
