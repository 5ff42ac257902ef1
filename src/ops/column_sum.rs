//! column_sum: y_j = Σ_i x_ij, the gradient of whatever was added to every row: a bias, position embeddings.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target};
use crate::engine::op::{Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands, record_one};
use crate::engine::real::Real;
use crate::engine::tensor::{Shape, Spec};
use crate::engine::twin::Io;
use crate::shader;

pub static COLUMN_SUM: OpInfo = OpInfo { name: "column_sum", formula: "y_j = Σ_i x_ij", cases };

/// Sums rows of `shape.len()` elements into a tensor of that shape. A second operand, if given, is a tensor
/// that the sums are added to in place.
#[derive(Debug)]
pub struct ColumnSum {
    pub shape: Shape,
    pub accumulate: bool,
}

impl ColumnSum {
    /// Records the column sums of `x`, added to `so_far` where there is one.
    pub fn record(tape: &mut dyn Record, x: Var, shape: Shape, so_far: Option<Var>) -> Result<Var, OpError> {
        let op = Self { shape, accumulate: so_far.is_some() };
        let operands: Vec<_> = [Some(x), so_far].into_iter().flatten().collect();
        record_one(tape, op, &operands)
    }
}

impl Op for ColumnSum {
    fn info(&self) -> &'static OpInfo {
        &COLUMN_SUM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 1 + usize::from(self.accumulate);
        expect_operands(inputs, n, n)?;
        if !inputs[0].shape.len().is_multiple_of(self.shape.len()) {
            return Err(OpError::new(format!(
                "operand `x` is {}, not whole rows of {}",
                inputs[0], self.shape
            )));
        }
        if self.accumulate {
            expect("y", inputs[1], Spec::f32(self.shape))?;
        }
        Ok(vec![Spec::f32(self.shape)])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.accumulate { vec![(0, 1)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let width = self.shape.len();
        Kernel::plain(vec![
            Dispatch::new(shader!("column_sum"))
                .bind("x", In(0))
                .bind("y", Out(0))
                .param("rows", operands.in_shape(0).len() / width)
                .param("width", width)
                .param("accumulate", self.accumulate)
                .groups(width.div_ceil(16), target),
        ])
    }
}

impl Twin for ColumnSum {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        if !self.accumulate {
            y.fill(F::ZERO);
        }
        for row in x.chunks_exact(y.len()) {
            y.iter_mut().zip(row).for_each(|(y, &x)| *y += x);
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width) in [(1, 1), (7, 65), (129, 16), (300, 33)] {
        for accumulate in [false, true] {
            let mut operands = vec![Spec::f32([rows, width])];
            operands.extend(accumulate.then_some(Spec::f32([width])));
            let op = ColumnSum { shape: [width].into(), accumulate };
            cases.push(Case::new(op, &operands, Bound::sum(rows, 1.0)));
        }
    }
    cases
}
