//! reshape: the same elements as another shape: no kernel runs and nothing moves.

use crate::ops::prelude::*;

pub static RESHAPE: OpInfo = OpInfo { name: "reshape", formula: "y = x, of another shape", cases };

/// x (…) → the same memory as this shape.
#[derive(Debug)]
pub struct Reshape(pub Shape);

impl Op for Reshape {
    fn info(&self) -> &'static OpInfo {
        &RESHAPE
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect("x", inputs[0], Spec::f32(inputs[0].shape))?;
        if inputs[0].shape.len() != self.0.len() {
            return Err(OpError::new(format!(
                "operand `x` is {}, which does not make {}",
                inputs[0], self.0
            )));
        }
        Ok(vec![Spec::f32(self.0)])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn is_view(&self) -> bool {
        true
    }

    fn kernels(&self, _operands: &Operands, _target: &Target) -> Vec<Kernel> {
        Kernel::plain(Vec::new())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let shape = tape.spec(at.inputs[0]).shape;
        Ok(vec![Some(record_one(tape, Reshape(shape), &[at.upstream(0)?])?)])
    }

    fn cost(&self, _operands: &Operands) -> Cost {
        Cost::default()
    }
}

impl Twin for Reshape {
    fn twin<F: Real>(&self, _io: &mut Io<F>) {}
}

fn cases() -> Vec<Case> {
    [([1].into(), [1, 1, 1].into()), ([7, 12].into(), [3, 7, 4].into()), ([5, 13].into(), [65].into())]
        .map(|(from, to): (Shape, Shape)| Case::new(Reshape(to), &[Spec::f32(from)], Bound::EXACT))
        .into()
}
