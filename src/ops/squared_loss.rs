//! squared_loss: half the square of an error, and in the same pass its gradient: for value functions, whose steps
//! may be clipped as in PPO, and for identity preference optimisation.

use crate::ops::elementwise::clamp;
use crate::ops::prelude::*;

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

impl Elementwise for SquaredLoss {
    fn entry(&self) -> &'static OpInfo {
        &SQUARED_LOSS
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("squared_loss"))
            .reads(["values", "targets", "weights"])
            .optional("old", "CLIP", self.clip.is_some())
            .writes(["loss", "dvalues"])
            .param("clip", self.clip.unwrap_or(0.0))
            .flops(if self.clip.is_some() { 10 } else { 5 })
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let clip = self.clip.map(|clip| F::of(clip.into()));
        let old = if clip.is_some() { 3 } else { 0 };
        each(
            io,
            [0, 1, 2, old],
            #[inline(always)]
            |[value, target, weight, old], _| {
                let off = value - target;
                let (mut square, mut slope) = (off * off, off);
                if let Some(clip) = clip {
                    let held = old + clamp(value - old, -clip, clip) - target;
                    if held * held > square {
                        (square, slope) = (held * held, F::ZERO);
                    }
                }
                [weight * F::of(0.5) * square, weight * slope]
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
