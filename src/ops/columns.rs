//! split_columns and concat_columns: one matrix as several side by side, such as queries, keys and values of one
//! product. Each is the other's derivative.

use crate::ops::heads::batch_ranges;
use crate::ops::prelude::*;
use crate::ops::zeros::Zeros;

pub static SPLIT_COLUMNS: OpInfo =
    OpInfo { name: "split_columns", formula: "y₁ beside y₂ beside … = x", cases: split_cases };
pub static CONCAT_COLUMNS: OpInfo =
    OpInfo { name: "concat_columns", formula: "y = x₁ beside x₂ beside …", cases: concat_cases };

/// x (…, Σ widths) → a result (…, width) for each of the widths.
#[derive(Clone, Debug)]
pub struct SplitColumns {
    pub widths: Vec<usize>,
}

/// (x₁ (…, width₁), x₂ (…, width₂), …) → y (…, Σ widths).
#[derive(Debug)]
pub struct ConcatColumns;

/// A dispatch for each part (and each range that a binding holds) between a whole matrix and its parts.
fn copies(
    whole: (Operand, Shape),
    parts: &[Shape],
    part: fn(usize) -> Operand,
    joins: bool,
    target: &Target,
) -> Vec<Kernel> {
    let (operand, shape) = whole;
    let (rows, row) = (shape.rows(), shape.width());
    let (mut dispatches, mut first_column) = (Vec::new(), 0);
    for (i, width) in parts.iter().map(|part| part.width()).enumerate() {
        for (first, n) in batch_ranges(target, rows, &[row, width]) {
            let (whole, part) = ((operand, row, first_column), (part(i), width, 0));
            let [x, y] = if joins { [part, whole] } else { [whole, part] };
            dispatches.push(
                Dispatch::new(shader!("columns/copy"))
                    .bind_part("x", x.0, first * x.1, n * x.1)
                    .bind_part("y", y.0, first * y.1, n * y.1)
                    .param("width", width)
                    .param("x_row", x.1)
                    .param("x_first", x.2)
                    .param("y_row", y.1)
                    .param("y_first", y.2)
                    .elements(n * width, target),
            );
        }
        first_column += width;
    }
    Kernel::plain(dispatches)
}

impl Op for SplitColumns {
    fn info(&self) -> &'static OpInfo {
        &SPLIT_COLUMNS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        let (x, widths) = (inputs[0].shape, &self.widths);
        if widths.contains(&0) {
            return Err(OpError::new("a part has no columns"));
        }
        expect("x", inputs[0], Spec::f32(x.with_width(widths.iter().sum())))?;
        Ok(widths.iter().map(|&width| Spec::f32(x.with_width(width))).collect())
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let parts: Vec<_> = (0..self.widths.len()).map(|i| operands.out_shape(i)).collect();
        copies((In(0), operands.in_shape(0)), &parts, Out, false, target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let mut parts = Vec::new();
        for (&y, &dy) in at.outputs.iter().zip(at.upstream) {
            // What nothing depends on has no gradient.
            let shape = tape.spec(y).shape;
            parts.push(dy.map_or_else(|| record_one(tape, Zeros(shape), &[]), Ok)?);
        }
        Ok(vec![Some(record_one(tape, ConcatColumns, &parts)?)])
    }
}

impl Twin for SplitColumns {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, row) = (io.input(0), io.in_shape(0).width());
        let mut first = 0;
        for (y, &width) in io.each_output().zip(&self.widths) {
            for_rows([(y, width)], width, |i, [y]| y.copy_from_slice(&x[i * row + first..][..width]));
            first += width;
        }
    }
}

impl Op for ConcatColumns {
    fn info(&self) -> &'static OpInfo {
        &CONCAT_COLUMNS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, usize::MAX)?;
        let first = inputs[0].shape;
        for &x in inputs {
            expect("x", x, Spec::f32(first.with_width(x.shape.width())))?;
        }
        Ok(vec![Spec::f32(first.with_width(inputs.iter().map(|x| x.shape.width()).sum()))])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let parts: Vec<_> = operands.inputs.iter().map(|x| x.shape).collect();
        copies((Out(0), operands.out_shape(0)), &parts, In, true, target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let widths = at.inputs.iter().map(|&x| tape.spec(x).shape.width()).collect();
        record_gradients(tape, SplitColumns { widths }, &[at.upstream(0)?])
    }
}

impl Twin for ConcatColumns {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let row = io.out_shape(0).width();
        let parts: Vec<_> = (0..io.n_inputs()).map(|i| (io.input(i), io.in_shape(i).width())).collect();
        let [y] = io.outputs();
        for_rows([(y, row)], row, |i, [y]| {
            let mut rest = y;
            for &(x, width) in &parts {
                let (part, after) = rest.split_at_mut(width);
                part.copy_from_slice(&x[i * width..][..width]);
                rest = after;
            }
        });
    }
}

/// Rows, and the widths of parts: single columns, odd ones, many, rows that small bindings can split, and elements for
/// more workgroups than a folded grid is wide.
const PARTS: [(&[usize], &[usize]); 6] = [
    (&[1], &[1]),
    (&[2, 3], &[5, 2, 2]),
    (&[7], &[65, 1]),
    (&[3, 11], &[4, 12]),
    (&[33], &[3, 1, 2, 7, 5]),
    (&[61], &[2, 43]),
];

fn each_case(case: fn(Shape, &[usize]) -> Case) -> Vec<Case> {
    let shaped = |(rows, widths): (&[usize], &[usize])| {
        let dims: Vec<_> = rows.iter().copied().chain([1]).collect();
        case(Shape::new(&dims), widths)
    };
    PARTS.map(shaped).into()
}

fn split_cases() -> Vec<Case> {
    each_case(|rows, widths| {
        let x = Spec::f32(rows.with_width(widths.iter().sum()));
        Case::new(SplitColumns { widths: widths.into() }, &[x], Bound::EXACT)
    })
}

fn concat_cases() -> Vec<Case> {
    each_case(|rows, widths| {
        let operands: Vec<_> = widths.iter().map(|&width| Spec::f32(rows.with_width(width))).collect();
        Case::new(ConcatColumns, &operands, Bound::EXACT)
    })
}
