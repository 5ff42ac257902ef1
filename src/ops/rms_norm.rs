//! rms_norm: y = x · rstd · weight, rstd = 1/√(mean(x²) + eps) (Zhang & Sennrich 2019): a layer norm that does
//! not subtract the mean. Its derivatives are those of `layer_norm` without the mean.

use crate::ops::layer_norm::{LayerNorm, LayerNormBackward, lanes};
use crate::ops::layer_norm_weights::record_weights;
use crate::ops::prelude::*;

pub static RMS_NORM: OpInfo =
    OpInfo { name: "rms_norm", formula: "y = x · weight / √(mean(x²) + eps)", cases };

/// (x (…, n), weight (n)) → y (…, n), rstd (rows).
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    pub eps: f32,
}

/// 1/√(mean(x²) + eps) of a row.
#[inline(always)]
pub(crate) fn root<F: Real>(x: &[F], eps: f32) -> F {
    let squares = lanes(
        x,
        #[inline(always)]
        |v| v * v,
    );
    F::ONE / (squares / F::of(x.len() as f64) + F::of(eps.into())).sqrt()
}

impl Op for RmsNorm {
    fn info(&self) -> &'static OpInfo {
        &RMS_NORM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("x", inputs[0], Spec::f32(inputs[0].shape))?;
        expect_vector("weight", inputs[1], inputs[0].shape.width())?;
        Ok(vec![inputs[0], LayerNorm::statistics(inputs[0])])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(0);
        Kernel::plain(vec![
            Dispatch::new(shader!("rms_norm", "reduce"))
                .bind("x", In(0))
                .bind("weight", In(1))
                .bind("y", Out(0))
                .bind("rstd", Out(1))
                .param("eps", self.eps)
                .rows(x.rows(), x.width(), target),
        ])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let (x, weight, rstd, dy) = (at.inputs[0], at.inputs[1], at.outputs[1], at.upstream(0)?);
        let mut gradients = record_weights(tape, at, &[dy, x, rstd], 1)?;
        if at.wanted[0] {
            let op = LayerNormBackward { centred: false };
            gradients[0] = Some(record_one(tape, op, &[dy, x, weight, rstd])?);
        }
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 4 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for RmsNorm {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, weight, width) = (io.input(0), io.input(1), io.in_shape(0).width());
        let [y, rstd] = io.outputs();
        for_rows(
            [(y, width), (rstd, 1)],
            width,
            #[inline(always)]
            |row, [y, rstd]| {
                let x = &x[row * width..][..width];
                rstd[0] = root(x, self.eps);
                for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * rstd[0] * w;
                }
            },
        );
    }
}

/// Rows that are odd, single, and longer or shorter than a workgroup.
const SHAPES: [[usize; 2]; 7] = [[1, 1], [1, 2], [3, 65], [5, 64], [2, 257], [33, 12], [70, 129]];

/// The squares are positive, so their sum is good to √n units, and rstd to half of that.
fn bound(width: usize) -> Bound {
    Bound::new(8.0 + (width as f64).sqrt(), 0.0)
}

fn cases() -> Vec<Case> {
    let case = |shape: [usize; 2], fill| {
        let operands = [Spec::f32(shape), Spec::f32([shape[1]])];
        Case::new(RmsNorm { eps: 1e-5 }, &operands, bound(shape[1])).with(0, fill)
    };
    let mut cases = SHAPES.map(|shape| case(shape, Fill::Uniform(6.0))).to_vec();
    // Large, and so small that eps is most of the root.
    cases.push(case([3, 70], Fill::Uniform(1e4)));
    cases.push(case([3, 70], Fill::Uniform(1e-3)));
    cases.push(case([3, 70], Fill::Constant(0.0)));
    cases
}
