//! sum: total = Σ x.

use crate::ops::prelude::*;

pub static SUM: OpInfo = OpInfo { name: "sum", formula: "total = Σ x", cases };

/// The sum of all elements, such as a loss over rows: (…) → (1). A second operand, if given, is a total that
/// the sum is added to in place.
#[derive(Debug)]
pub struct Sum {
    pub accumulate: bool,
}

impl Op for Sum {
    fn info(&self) -> &'static OpInfo {
        &SUM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 1 + usize::from(self.accumulate);
        expect_operands(inputs, n, n)?;
        Ok(vec![Spec::f32([1])])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.accumulate { vec![(0, 1)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, _target: &Target) -> Vec<Kernel> {
        Kernel::plain(vec![
            Dispatch::new(shader!("sum", "reduce"))
                .bind("x", In(0))
                .bind("total", Out(0))
                .param("len", operands.in_shape(0).len())
                .param("accumulate", self.accumulate),
        ])
    }
}

impl Twin for Sum {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [total] = io.outputs();
        let start = if self.accumulate { total[0] } else { F::ZERO };
        total[0] = start + x.iter().copied().sum();
    }
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [1, 2, 255, 257, 1009]
        .map(|n| Case::new(Sum { accumulate: false }, &[Spec::f32([n])], Bound::sum(n, 1.0)))
        .into();
    let total = [Spec::f32([100]), Spec::f32([1])];
    cases.push(Case::new(Sum { accumulate: true }, &total, Bound::sum(101, 1.0)));
    cases
}
