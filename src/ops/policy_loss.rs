//! policy_loss: the clipped objective of proximal policy optimisation, and in the same pass its gradient.
//!
//! With the probability ratio r = π(token) / π_old(token) = exp(old − nll) and advantage a, PPO (Schulman et al.
//! 2017, eq. 7) maximises min(r a, clip(r, 1 − ε, 1 + ε) a). GRPO (Shao et al. 2024, eqs. 3 and 4) subtracts the
//! KL divergence from a reference policy by the estimator exp(d) − d − 1, d = ln π_ref − ln π, which has no
//! negative samples.

use crate::ops::elementwise::clamp;
use crate::ops::prelude::*;

pub static POLICY_LOSS: OpInfo = OpInfo {
    name: "policy_loss",
    formula: "loss = w (-min(r a, clip(r, 1 ± ε) a) + kl (exp(d) - d - 1)), r = exp(old - nll), d = nll - ref",
    cases,
};

/// (nll (…), old, advantages, weights, [reference]) → loss and dnll, all of one shape.
///
/// `nll` are negative log-probabilities of the tokens that were sampled, as `cross_entropy` gives them: under the
/// policy in training, under the one that sampled (`old`), and under the reference, which is there if `kl` is
/// not 0. A weight is the upstream gradient of its loss, 0 for tokens that the policy did not choose. A graph starts
/// its backward pass from `dnll`, which is 0 where clipping holds the ratio.
#[derive(Debug)]
pub struct PolicyLoss {
    /// ε: how far the ratio may move from 1 for gain.
    pub clip: f32,
    /// What a nat of divergence from the reference costs.
    pub kl: f32,
}

impl Elementwise for PolicyLoss {
    fn entry(&self) -> &'static OpInfo {
        &POLICY_LOSS
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("policy_loss"))
            .reads(["nll", "old", "advantages", "weights"])
            .optional("reference", "KL", self.kl != 0.0)
            .writes(["loss", "dnll"])
            .param("clip", self.clip)
            .param("kl", self.kl)
            .flops(if self.kl == 0.0 { 9 } else { 16 })
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let (has_reference, clip, kl) = (self.kl != 0.0, F::of(self.clip.into()), F::of(self.kl.into()));
        let reference = if has_reference { 4 } else { 0 };
        each(
            io,
            [0, 1, 2, 3, reference],
            #[inline(always)]
            |[nll, old, advantage, weight, reference], _| {
                let ratio = (old - nll).exp();
                let gain = ratio * advantage;
                let clipped = clamp(ratio, F::ONE - clip, F::ONE + clip) * advantage;
                let (mut value, mut slope) =
                    if gain <= clipped { (-gain, gain) } else { (-clipped, F::ZERO) };
                if has_reference {
                    let d = nll - reference;
                    value += kl * (d.exp() - d - F::ONE);
                    slope += kl * (d.exp() - F::ONE);
                }
                [weight * value, weight * slope]
            },
        );
    }
}

/// With differences of up to `d`, whose rounding the exponential takes in as many units, ratio and divergence are
/// off by d + 8 units of e^d: exp itself is allowed 3 + 2 d ULP by WGSL. The shares of both then cancel in the sum.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (clip, kl) in [(0.2, 0.0), (0.2, 0.1), (0.5, 2.0)] {
        for (shape, largest) in [([1, 1], 1.0), ([3, 65], 0.5), ([1, 1409], 1.0), ([7, 129], 2.0)] {
            let bound =
                Bound::new(16.0, (1.0 + f64::from(kl)) * 8.0 * (2.0 * largest + 4.0) * (2.0 * largest).exp());
            let operands = vec![Spec::f32(shape); if kl == 0.0 { 4 } else { 5 }];
            let mut case = Case::new(PolicyLoss { clip, kl }, &operands, bound);
            for nll in [0, 1, 4].into_iter().filter(|&i| i < operands.len()) {
                case = case.with(nll, Fill::Between(3.0 - largest as f32, 3.0 + largest as f32));
            }
            cases.push(case);
        }
    }
    cases
}
