//! sgd: stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), after clipping by global
//! norm.

use super::adamw::clip_scale;
use crate::ops::prelude::*;

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

impl Elementwise for Sgd {
    fn entry(&self) -> &'static OpInfo {
        &SGD
    }

    fn declare(&self) -> Declaration {
        let declaration = if self.has_momentum() {
            Declaration::new(shader!("sgd/momentum", "step"))
                .constant("NESTEROV", self.nesterov.into())
                .param("momentum", self.momentum)
        } else {
            Declaration::new(shader!("sgd/plain", "step"))
        };
        let declaration = declaration.reads(["gradient"]).scalar("grad_norm").updates(["p"]);
        let declaration = if self.has_momentum() { declaration.updates(["v"]) } else { declaration };
        declaration
            .param("weight_decay", self.weight_decay)
            .param("clip", self.clip)
            .flops(if self.has_momentum() { 7 } else { 5 })
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let of = |x: f32| F::of(x.into());
        let (lr, momentum, decay) = (of(io.step().learning_rate), of(self.momentum), of(self.weight_decay));
        let scale = clip_scale(io.input(1)[0], self.clip);
        if self.has_momentum() {
            each(
                io,
                [0],
                #[inline(always)]
                |[gradient], [p, v]| {
                    let g = gradient * scale;
                    let v = momentum * v + g;
                    let direction = if self.nesterov { g + momentum * v } else { v };
                    [p - lr * (direction + decay * p), v]
                },
            );
        } else {
            each(io, [0], |[gradient], [p]| [p - lr * (gradient * scale + decay * p)]);
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
