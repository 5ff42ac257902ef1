//! add: y ← y + x, in place.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Applied, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static ADD: OpInfo = OpInfo { name: "add", formula: "y ← y + x", cases };

/// Adds the second operand to the first, in place.
#[derive(Debug)]
pub struct Add;

impl Op for Add {
    fn info(&self) -> &'static OpInfo {
        &ADD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("x", inputs[1], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("add"));
        elementwise(&dispatch, &[("x", In(1)), ("y", Out(0))], operands.out_shape(0).len(), target)
    }

    fn vjp(&self, _tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![at.upstream[0]; 2])
    }
}

impl Twin for Add {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(1);
        let [y] = io.outputs();
        for_rows([(y, 1)], 1, |i, [y]| y[0] += x[i]);
    }
}

fn cases() -> Vec<Case> {
    [1, 255, 256, 257, 1409].map(|n| Case::new(Add, &[Spec::f32([n]), Spec::f32([n])], Bound::ROUNDED)).into()
}
