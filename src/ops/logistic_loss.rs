//! logistic_loss: the cross-entropy of yes-or-no answers, w (softplus(x) - y x), and in the same pass its
//! gradient: for XOR, skip-gram with negative samples, reward models and preferences.

use crate::ops::prelude::*;

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

impl Elementwise for LogisticLoss {
    fn entry(&self) -> &'static OpInfo {
        &LOGISTIC_LOSS
    }

    fn declare(&self) -> Declaration {
        let declaration = if self.gradient {
            let declaration = Declaration::new(shader!("logistic_loss/gradient", "sigmoid")).flops(14);
            declaration.writes(["loss"]).updates(["logits"])
        } else {
            let declaration = Declaration::new(shader!("logistic_loss/loss", "sigmoid")).flops(8);
            declaration.writes(["loss"]).reads(["logits"])
        };
        declaration.reads(["targets", "weights"])
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        if self.gradient {
            each(
                io,
                [1, 2],
                #[inline(always)]
                |[y, w], [_, x]| [w * (x.softplus() - y * x), w * (x.sigmoid() - y)],
            );
        } else {
            each(
                io,
                [0, 1, 2],
                #[inline(always)]
                |[x, y, w], _| [w * (x.softplus() - y * x)],
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
