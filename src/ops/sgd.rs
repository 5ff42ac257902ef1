//! sgd: stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), after clipping by global
//! norm.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static SGD: OpInfo = OpInfo { name: "sgd", formula: "v ← μ v + g, p ← p - lr (v + decay p)", cases };

/// (gradient, grad_norm (1), p, \[v\]) → p, \[v\], in place; v is there with a momentum. The step gives the learning
/// rate; g is the gradient times min(1, clip / grad_norm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// μ; 0 is plain descent and needs no v.
    pub momentum: f32,
    /// Steps along g + μ v instead of v.
    pub nesterov: bool,
    /// Decoupled, as AdamW's.
    pub weight_decay: f32,
    /// The largest global norm left as it is; 0 never clips.
    pub clip: f32,
}

impl Sgd {
    pub fn has_momentum(&self) -> bool {
        self.momentum != 0.0
    }
}

impl Op for Sgd {
    fn info(&self) -> &'static OpInfo {
        &SGD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 3 + usize::from(self.has_momentum());
        expect_operands(inputs, n, n)?;
        expect("grad_norm", inputs[1], Spec::f32([1]))?;
        for (name, &spec) in ["p", "v"].iter().zip(&inputs[2..]) {
            expect(name, spec, inputs[0])?;
        }
        Ok(inputs[2..].to_vec())
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.has_momentum() { vec![(0, 2), (1, 3)] } else { vec![(0, 2)] }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let mut tensors = vec![("gradient", In(0)), ("p", Out(0))];
        let dispatch = if self.has_momentum() {
            tensors.push(("v", Out(1)));
            Dispatch::new(shader!("sgd/momentum", "step"))
                .constant("NESTEROV", self.nesterov.into())
                .param("momentum", self.momentum)
        } else {
            Dispatch::new(shader!("sgd/plain", "step"))
        };
        let dispatch = dispatch
            .bind("grad_norm", In(1))
            .param("weight_decay", self.weight_decay)
            .param("clip", self.clip);
        elementwise(&dispatch, &tensors, operands.in_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.in_shape(0).len() as u64;
        // Reads gradient and p and writes p; with momentum also reads and writes v.
        let (flops, tensors) = if self.has_momentum() { (7, 5) } else { (5, 3) };
        Cost { flops: flops * len, bytes: 4 * tensors * len }
    }
}

impl Twin for Sgd {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let of = |x: f32| F::of(x.into());
        let (gradient, norm, lr) = (io.input(0), io.input(1)[0], of(io.step().learning_rate));
        let (momentum, decay, clip) = (of(self.momentum), of(self.weight_decay), of(self.clip));
        let scale = if self.clip > 0.0 && norm > clip { clip / norm } else { F::ONE };
        if self.has_momentum() {
            let [p, v] = io.outputs();
            for_rows(
                [(p, 1), (v, 1)],
                1,
                #[inline(always)]
                |i, [p, v]| {
                    let g = gradient[i] * scale;
                    v[0] = momentum * v[0] + g;
                    let direction = if self.nesterov { g + momentum * v[0] } else { v[0] };
                    p[0] -= lr * (direction + decay * p[0]);
                },
            );
        } else {
            let [p] = io.outputs();
            for_rows(
                [(p, 1)],
                1,
                #[inline(always)]
                |i, [p]| p[0] -= lr * (gradient[i] * scale + decay * p[0]),
            );
        }
    }
}

/// v is a sum of two products of at most 9 and 1, rounded four times; p loses a thousandth of that and is rounded.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [1, 255, 257, 1409] {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            for (norm, clip) in [(0.5, 1.0), (3.0, 1.0), (3.0, 0.05), (3.0, 0.0)] {
                let sgd = Sgd { momentum, nesterov, weight_decay: 0.1, clip };
                let mut operands = vec![Spec::f32([len]); if sgd.has_momentum() { 4 } else { 3 }];
                operands[1] = Spec::f32([1]);
                let case = Case::new(sgd, &operands, Bound::new(4.0, 40.0));
                cases.push(case.with(0, Fill::Uniform(9.0)).with(1, Fill::Constant(norm)));
            }
        }
    }
    cases
}
