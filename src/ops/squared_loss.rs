//! squared_loss: half the square of an error, and in the same pass its gradient: for value functions, whose steps
//! may be clipped as in PPO, and for identity preference optimisation.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static SQUARED_LOSS: OpInfo = OpInfo {
    name: "squared_loss",
    formula: "loss = w ½ max((x - y)², (c - y)²), c = old + clip(x - old, ± ε)",
    cases,
};

/// (values (…), targets, weights, [old values]) → loss and dvalues, all of one shape.
///
/// With `clip`, a value gains nothing by moving further than that from its old one (OpenAI Baselines' PPO; it is
/// not in the paper): the loss is then that of the clipped value, and there is no gradient. A weight is the upstream
/// gradient of its loss, 0 to leave it out. A graph starts its backward pass from `dvalues`.
#[derive(Debug)]
pub struct SquaredLoss {
    /// ε; `None` for the plain square, which has no old values.
    pub clip: Option<f32>,
}

impl Op for SquaredLoss {
    fn info(&self) -> &'static OpInfo {
        &SQUARED_LOSS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 3 + usize::from(self.clip.is_some());
        expect_operands(inputs, n, n)?;
        expect("values", inputs[0], Spec::f32(inputs[0].shape))?;
        for (name, &input) in ["targets", "weights", "old"].iter().zip(&inputs[1..]) {
            expect(name, input, inputs[0])?;
        }
        Ok(vec![inputs[0]; 2])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("squared_loss"))
            .constant("CLIP", self.clip.is_some().into())
            .param("clip", self.clip.unwrap_or(0.0));
        let bindings = [
            ("values", In(0)),
            ("targets", In(1)),
            ("weights", In(2)),
            ("old", In(if self.clip.is_some() { 3 } else { 0 })),
            ("loss", Out(0)),
            ("dvalues", Out(1)),
        ];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let flops = if self.clip.is_some() { 10 } else { 5 };
        Cost { flops: flops * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for SquaredLoss {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (values, targets, weights) = (io.input(0), io.input(1), io.input(2));
        let clip = self.clip.map(|clip| (F::of(clip.into()), io.input(3)));
        let half = F::of(0.5);
        let [loss, dvalues] = io.outputs();
        for_rows(
            [(loss, 1), (dvalues, 1)],
            6,
            #[inline(always)]
            |i, [loss, dvalues]| {
                let off = values[i] - targets[i];
                let (mut square, mut slope) = (off * off, off);
                if let Some((clip, old)) = clip {
                    let moved = values[i] - old[i];
                    let moved = if moved > clip {
                        clip
                    } else if moved < -clip {
                        -clip
                    } else {
                        moved
                    };
                    let held = old[i] + moved - targets[i];
                    if held * held > square {
                        (square, slope) = (held * held, F::ZERO);
                    }
                }
                loss[0] = weights[i] * half * square;
                dvalues[0] = weights[i] * slope;
            },
        );
    }
}

/// An error of up to 2 comes from a subtraction, or three with old values, of numbers up to 1: off by 2 units each,
/// and by twice the error's size in the square; two more products are rounded.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for clip in [None, Some(0.2), Some(1.5)] {
        for shape in [[1, 1], [3, 65], [1, 1409], [7, 129]] {
            let operands = vec![Spec::f32(shape); if clip.is_some() { 4 } else { 3 }];
            let absolute = if clip.is_some() { 24.0 } else { 8.0 };
            cases.push(Case::new(SquaredLoss { clip }, &operands, Bound::new(8.0, absolute)));
        }
    }
    cases
}
