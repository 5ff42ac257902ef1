//! logistic_loss: the cross-entropy of yes-or-no answers, w (softplus(x) - y x), and in the same pass its
//! gradient: for XOR, skip-gram with negative samples, reward models and preferences.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static LOGISTIC_LOSS: OpInfo =
    OpInfo { name: "logistic_loss", formula: "loss = w (ln(1 + eˣ) - y x); x ← w (σ(x) - y)", cases };

/// (logits (…), targets, weights) → loss, and with `gradient` dlogits in place of the logits; all of one shape.
///
/// A target is the probability of a yes, mostly 0 or 1; a weight is the upstream gradient of its loss, 0 to leave
/// it out. As with `cross_entropy`, a graph starts its backward pass from `dlogits`.
#[derive(Debug)]
pub struct LogisticLoss {
    pub gradient: bool,
}

impl Op for LogisticLoss {
    fn info(&self) -> &'static OpInfo {
        &LOGISTIC_LOSS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        expect("logits", inputs[0], Spec::f32(inputs[0].shape))?;
        expect("targets", inputs[1], inputs[0])?;
        expect("weights", inputs[2], inputs[0])?;
        Ok(vec![inputs[0]; 1 + usize::from(self.gradient)])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.gradient { vec![(1, 0)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (dispatch, logits) = if self.gradient {
            (Dispatch::new(shader!("logistic_loss/gradient", "sigmoid")), Out(1))
        } else {
            (Dispatch::new(shader!("logistic_loss/loss", "sigmoid")), In(0))
        };
        let bindings = [("logits", logits), ("targets", In(1)), ("weights", In(2)), ("loss", Out(0))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let flops = if self.gradient { 14 } else { 8 };
        Cost { flops: flops * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for LogisticLoss {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (targets, weights) = (io.input(1), io.input(2));
        if self.gradient {
            let [loss, logits] = io.outputs();
            for_rows(
                [(loss, 1), (logits, 1)],
                4,
                #[inline(always)]
                |i, [loss, logits]| {
                    let x = logits[0];
                    loss[0] = weights[i] * (x.softplus() - targets[i] * x);
                    logits[0] = weights[i] * (x.sigmoid() - targets[i]);
                },
            );
        } else {
            let logits = io.input(0);
            let [loss] = io.outputs();
            for_rows(
                [(loss, 1)],
                4,
                #[inline(always)]
                |i, [loss]| loss[0] = weights[i] * (logits[i].softplus() - targets[i] * logits[i]),
            );
        }
    }
}

/// The logarithm of a number up to 2 may be off by 2⁻²¹, 8 units; x and y x are rounded relative to themselves.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gradient in [false, true] {
        for (shape, largest) in [([1, 1], 1.0), ([3, 65], 6.0), ([1, 1409], 1.0), ([7, 129], 1e4)] {
            let bound = Bound::new(4.0, 16.0 + 2.0 * f64::from(largest));
            let case = Case::new(LogisticLoss { gradient }, &[Spec::f32(shape); 3], bound);
            cases.push(case.with(0, Fill::Uniform(largest)).with(1, Fill::Between(0.0, 1.0)));
        }
        let one_sided = Case::new(LogisticLoss { gradient }, &[Spec::f32([2, 67]); 3], Bound::new(4.0, 16.0));
        cases.push(one_sided.clone().with(0, Fill::Between(50.0, 100.0)).with(1, Fill::Constant(1.0)));
        cases.push(one_sided.with(0, Fill::Between(-100.0, -50.0)).with(1, Fill::Constant(0.0)));
    }
    cases
}
