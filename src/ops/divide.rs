//! divide: y = x / (norm + eps), by a number that is known only on the device, such as the norm of x.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static DIVIDE: OpInfo = OpInfo { name: "divide", formula: "y = x / (norm + eps)", cases };

/// (x (…), norm (1)) → y (…). It has no derivative: optimisers use it.
#[derive(Clone, Copy, Debug)]
pub struct Divide {
    pub eps: f32,
}

impl Op for Divide {
    fn info(&self) -> &'static OpInfo {
        &DIVIDE
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("x", inputs[0], Spec::f32(inputs[0].shape))?;
        expect("norm", inputs[1], Spec::f32([1]))?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("divide")).bind("norm", In(1)).param("eps", self.eps);
        elementwise(&dispatch, &[("x", In(0)), ("y", Out(0))], operands.out_shape(0).len(), target)
    }
}

impl Twin for Divide {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, by) = (io.input(0), io.input(1)[0] + F::of(self.eps.into()));
        let [y] = io.outputs();
        for_rows(
            [(y, 1)],
            1,
            #[inline(always)]
            |i, [y]| y[0] = x[i] / by,
        );
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
