//! divide: y = x / (norm + eps), by a number that is known only on the device, such as the norm of x.

use crate::ops::prelude::*;

pub static DIVIDE: OpInfo = OpInfo { name: "divide", formula: "y = x / (norm + eps)", cases };

/// (x (…), norm (1)) → y (…). It has no derivative: optimisers use it.
#[derive(Clone, Copy, Debug)]
pub struct Divide {
    pub eps: f32,
}

impl Elementwise for Divide {
    fn entry(&self) -> &'static OpInfo {
        &DIVIDE
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("divide")).reads(["x"]).scalar("norm").writes(["y"]).param("eps", self.eps)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let by = io.input(1)[0] + F::of(self.eps.into());
        each(io, [0], |[x], _| [x / by]);
    }
}

/// A division may be off by 2.5 units in the last place, which are up to five of rounding.
fn cases() -> Vec<Case> {
    let case = |len, norm, eps| {
        let operands = [Spec::f32([len]), Spec::f32([1])];
        Case::new(Divide { eps }, &operands, Bound::new(8.0, 0.0)).with(1, Fill::Constant(norm))
    };
    vec![case(1, 3.0, 1e-7), case(255, 0.0, 0.5), case(257, 0.2, 0.05), case(1409, 17.0, 1e-7)]
}
