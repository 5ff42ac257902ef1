//! adamw: Adam with decoupled weight decay (Loshchilov & Hutter 2019), after clipping by global norm.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::step::Step;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

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

impl Op for AdamW {
    fn info(&self) -> &'static OpInfo {
        &ADAMW
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 5, 5)?;
        expect("grad_norm", inputs[1], Spec::f32([1]))?;
        for (name, &spec) in ["p", "m", "v"].iter().zip(&inputs[2..]) {
            expect(name, spec, inputs[0])?;
        }
        Ok(vec![inputs[0]; 3])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 2), (1, 3), (2, 4)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let len = operands.in_shape(0).len();
        let dispatch = Dispatch::new(shader!("adamw", "step"))
            .bind("grad_norm", In(1))
            .param("beta1", self.beta1)
            .param("beta2", self.beta2)
            .param("eps", self.eps)
            .param("weight_decay", self.weight_decay)
            .param("clip", self.clip);
        let tensors = [("gradient", In(0)), ("p", Out(0)), ("m", Out(1)), ("v", Out(2))];
        elementwise(&dispatch, &tensors, len, target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.in_shape(0).len() as u64;
        // Reads gradient, p, m, v; writes p, m, v.
        Cost { flops: 16 * len, bytes: 4 * 7 * len }
    }
}

impl Twin for AdamW {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        const ROW: usize = 1024;
        let (gradient, norm, step) = (io.input(0), io.input(1)[0], io.step());
        let [p, m, v] = io.outputs();
        let whole = p.len() / ROW * ROW;
        let (p, p_rest) = p.split_at_mut(whole);
        let (m, m_rest) = m.split_at_mut(whole);
        let (v, v_rest) = v.split_at_mut(whole);
        for_rows(
            [(p, ROW), (m, ROW), (v, ROW)],
            ROW,
            #[inline(always)]
            |row, [p, m, v]| self.update(&gradient[row * ROW..][..ROW], norm, step, [p, m, v]),
        );
        self.update(&gradient[whole..], norm, step, [p_rest, m_rest, v_rest]);
    }
}

impl AdamW {
    #[inline(always)]
    fn update<F: Real>(&self, gradient: &[F], norm: F, step: &Step, [p, m, v]: [&mut [F]; 3]) {
        let of = |x: f32| F::of(x.into());
        let (beta1, beta2, eps, decay) =
            (of(self.beta1), of(self.beta2), of(self.eps), of(self.weight_decay));
        let (lr, clip) = (of(step.learning_rate), of(self.clip));
        let (correction1, correction2) = (of(step.correction1), of(step.correction2));
        let scale = if self.clip > 0.0 && norm > clip { clip / norm } else { F::ONE };
        for (((&g, p), m), v) in gradient.iter().zip(p).zip(m).zip(v) {
            let g = g * scale;
            *m = beta1 * *m + (F::ONE - beta1) * g;
            *v = beta2 * *v + (F::ONE - beta2) * g * g;
            let update = (*m / correction1) / ((*v / correction2).sqrt() + eps);
            *p -= lr * (update + decay * *p);
        }
    }
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
    // Moments so small that it matters on which side of the root epsilon stands.
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
