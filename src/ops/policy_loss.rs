//! policy_loss: the clipped objective of proximal policy optimisation, and in the same pass its gradient.
//!
//! With the probability ratio r = π(token) / π_old(token) = exp(old − nll) and advantage a, PPO (Schulman et al.
//! 2017, eq. 7) maximises min(r a, clip(r, 1 − ε, 1 + ε) a). GRPO (Shao et al. 2024, eqs. 3 and 4) subtracts the
//! KL divergence from a reference policy by the estimator exp(d) − d − 1, d = ln π_ref − ln π, which has no
//! negative samples.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

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

impl Op for PolicyLoss {
    fn info(&self) -> &'static OpInfo {
        &POLICY_LOSS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 4 + usize::from(self.kl != 0.0);
        expect_operands(inputs, n, n)?;
        expect("nll", inputs[0], Spec::f32(inputs[0].shape))?;
        for (name, &input) in ["old", "advantages", "weights", "reference"].iter().zip(&inputs[1..]) {
            expect(name, input, inputs[0])?;
        }
        Ok(vec![inputs[0]; 2])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let has_reference = self.kl != 0.0;
        let dispatch = Dispatch::new(shader!("policy_loss"))
            .constant("KL", has_reference.into())
            .param("clip", self.clip)
            .param("kl", self.kl);
        let bindings = [
            ("nll", In(0)),
            ("old", In(1)),
            ("advantages", In(2)),
            ("weights", In(3)),
            ("reference", In(if has_reference { 4 } else { 0 })),
            ("loss", Out(0)),
            ("dnll", Out(1)),
        ];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let flops = if self.kl == 0.0 { 9 } else { 16 };
        Cost { flops: flops * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for PolicyLoss {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (nll, old, advantages, weights) = (io.input(0), io.input(1), io.input(2), io.input(3));
        let reference = (self.kl != 0.0).then(|| io.input(4));
        let (clip, kl) = (F::of(self.clip.into()), F::of(self.kl.into()));
        let [loss, dnll] = io.outputs();
        for_rows(
            [(loss, 1), (dnll, 1)],
            8,
            #[inline(always)]
            |i, [loss, dnll]| {
                let ratio = (old[i] - nll[i]).exp();
                let (low, high) = (F::ONE - clip, F::ONE + clip);
                let held = if ratio < low {
                    low
                } else if ratio > high {
                    high
                } else {
                    ratio
                };
                let (gain, clipped) = (ratio * advantages[i], held * advantages[i]);
                let (mut value, mut slope) =
                    if gain <= clipped { (-gain, gain) } else { (-clipped, F::ZERO) };
                if let Some(reference) = reference {
                    let d = nll[i] - reference[i];
                    value += kl * (d.exp() - d - F::ONE);
                    slope += kl * (d.exp() - F::ONE);
                }
                loss[0] = weights[i] * value;
                dnll[0] = weights[i] * slope;
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
