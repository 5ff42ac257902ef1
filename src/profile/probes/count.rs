//! A dispatch that does next to nothing: what remains is the dispatch.

use crate::ops::prelude::*;

pub static COUNT: OpInfo = OpInfo { name: "count", formula: "y ← y + 1", cases };

/// Counts in place how often it was applied: (1) → (1).
#[derive(Debug)]
pub struct Count;

impl Op for Count {
    fn info(&self) -> &'static OpInfo {
        &COUNT
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect_vector("y", inputs[0], 1)?;
        Ok(inputs.to_vec())
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn kernels(&self, _operands: &Operands, _target: &Target) -> Vec<Kernel> {
        Kernel::plain(vec![Dispatch::new(shader!("probes/count")).bind("y", Out(0))])
    }
}

impl Twin for Count {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [y] = io.outputs();
        y[0] += F::ONE;
    }
}

fn cases() -> Vec<Case> {
    vec![Case::new(Count, &[Spec::f32([1])], Bound::EXACT).with(0, Fill::Constant(41.0))]
}
