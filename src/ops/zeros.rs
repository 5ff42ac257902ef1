//! zeros: a tensor of zeros, for gradients that are added to.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Op, OpError, OpInfo, Twin, expect_operands};
use crate::engine::real::Real;
use crate::engine::tensor::{Shape, Spec};
use crate::engine::twin::Io;
use crate::shader;

pub static ZEROS: OpInfo = OpInfo { name: "zeros", formula: "y = 0", cases };

/// A tensor of zeros of this shape.
#[derive(Debug)]
pub struct Zeros(pub Shape);

impl Op for Zeros {
    fn info(&self) -> &'static OpInfo {
        &ZEROS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 0, 0)?;
        Ok(vec![Spec::f32(self.0)])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        elementwise(&Dispatch::new(shader!("zeros")), &[("y", Out(0))], operands.out_shape(0).len(), target)
    }
}

impl Twin for Zeros {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [y] = io.outputs();
        y.fill(F::ZERO);
    }
}

fn cases() -> Vec<Case> {
    [1, 257, 1409].map(|n| Case::new(Zeros([n].into()), &[], Bound::EXACT)).into()
}
