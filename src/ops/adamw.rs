//! adamw: Adam with decoupled weight decay (Loshchilov & Hutter 2019), after clipping by global norm.

use crate::ops::prelude::*;

pub static ADAMW: OpInfo = OpInfo {
    name: "adamw",
    formula: "m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - lr (m̂ / (√v̂ + eps) + decay p)",
    cases,
};

/// (gradient, grad_norm (1), p, m, v) → p, m, v, all in place. The step gives the learning rate and the bias
/// corrections; g is the gradient times min(1, clip / grad_norm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    /// The largest global norm left as it is; 0 never clips.
    pub clip: f32,
}

impl Elementwise for AdamW {
    fn entry(&self) -> &'static OpInfo {
        &ADAMW
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("adamw", "step"))
            .reads(["gradient"])
            .scalar("grad_norm")
            .updates(["p", "m", "v"])
            .param("beta1", self.beta1)
            .param("beta2", self.beta2)
            .param("eps", self.eps)
            .param("weight_decay", self.weight_decay)
            .param("clip", self.clip)
            .flops(16)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let of = |x: f32| F::of(x.into());
        let (beta1, beta2) = (of(self.beta1), of(self.beta2));
        let (eps, decay, lr) = (of(self.eps), of(self.weight_decay), of(io.step().learning_rate));
        let (correction1, correction2) = (of(io.step().correction1), of(io.step().correction2));
        let scale = clip_scale(io.input(1)[0], self.clip);
        each(
            io,
            [0],
            #[inline(always)]
            |[gradient], [p, m, v]| {
                let g = gradient * scale;
                let m = beta1 * m + (F::ONE - beta1) * g;
                let v = beta2 * v + (F::ONE - beta2) * g * g;
                let update = (m / correction1) / ((v / correction2).sqrt() + eps);
                [p - lr * (update + decay * p), m, v]
            },
        );
    }
}

/// What clipping by global norm multiplies gradients by: min(1, clip / norm), or 1 where `clip` is 0.
pub(super) fn clip_scale<F: Real>(norm: F, clip: f32) -> F {
    let largest = F::of(clip.into());
    if clip > 0.0 && norm > largest { largest / norm } else { F::ONE }
}

/// p, m and v are sums of two or three rounded products; the quotient is at most √(corrections' ratio) · |m|/√v.
fn cases() -> Vec<Case> {
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let mut cases = Vec::new();
    for len in [1, 255, 257, 1009, 2500] {
        for (norm, clip) in [(0.5, 1.0), (3.0, 1.0), (3.0, 0.0), (0.25, 0.0625)] {
            let operands =
                [Spec::f32([len]), Spec::f32([1]), Spec::f32([len]), Spec::f32([len]), Spec::f32([len])];
            cases.push(
                Case::new(AdamW { clip, ..adamw }, &operands, Bound::new(8.0, 4.0))
                    .with(1, Fill::Constant(norm))
                    .with(4, Fill::Between(0.01, 1.0)),
            );
        }
    }
    // Moments so small that it matters whether epsilon is inside or outside of the root.
    let operands = [Spec::f32([65]), Spec::f32([1]), Spec::f32([65]), Spec::f32([65]), Spec::f32([65])];
    cases.push(
        Case::new(adamw, &operands, Bound::new(8.0, 4.0))
            .with(0, Fill::Uniform(1e-6))
            .with(1, Fill::Constant(0.5))
            .with(3, Fill::Uniform(1e-6))
            .with(4, Fill::Between(1e-12, 1e-10)),
    );
    cases
}
