//! column_sum: y_j = Σ_i x_ij, the gradient of whatever was added to every row: a bias, position embeddings. Of a
//! table of positions shorter sequences use the first rows alone.

use crate::ops::prelude::*;

pub static COLUMN_SUM: OpInfo = OpInfo { name: "column_sum", formula: "y_j = Σ_i x_ij", cases };

/// Sums rows of `width` elements into the first of a tensor of `shape`; its others are 0. A second operand, if given,
/// is a tensor that the sums are added to in place.
#[derive(Debug)]
pub struct ColumnSum {
    pub width: usize,
    pub shape: Shape,
    pub accumulate: bool,
}

impl ColumnSum {
    /// Records the column sums of `x`, rows of `width` elements, added to `so_far` where there is one.
    pub fn record(
        tape: &mut dyn Record,
        x: Var,
        width: usize,
        shape: Shape,
        so_far: Option<Var>,
    ) -> Result<Var, OpError> {
        let op = Self { width, shape, accumulate: so_far.is_some() };
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
        let Self { width, shape, .. } = *self;
        if !inputs[0].shape.len().is_multiple_of(width) || width > shape.len() {
            return Err(OpError::new(format!(
                "operand `x` is {}, not whole rows of {width} for a tensor of {shape}",
                inputs[0]
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
        let width = self.width;
        // What no row reaches stays as it is, or becomes 0.
        let written = if self.accumulate { width } else { self.shape.len() };
        Kernel::plain(vec![
            Dispatch::new(shader!("column_sum"))
                .bind("x", In(0))
                .bind("y", Out(0))
                .param("rows", operands.in_shape(0).len() / width)
                .param("width", width)
                .param("written", written)
                .param("accumulate", self.accumulate)
                .groups(written.div_ceil(16), target),
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
        for row in x.chunks_exact(self.width) {
            y.iter_mut().zip(row).for_each(|(y, &x)| *y += x);
        }
    }
}

/// (rows, width, elements of y)
const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [7, 65, 65], [129, 16, 16], [300, 33, 33], [1, 1, 2], [19, 30, 49], [5, 16, 80]];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [rows, width, len] in SIZES {
        for accumulate in [false, true] {
            let mut operands = vec![Spec::f32([rows, width])];
            operands.extend(accumulate.then_some(Spec::f32([len])));
            let op = ColumnSum { width, shape: [len].into(), accumulate };
            cases.push(Case::new(op, &operands, Bound::sum(rows, 1.0)));
        }
    }
    cases
}
