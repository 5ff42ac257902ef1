//! take_rows and put_rows: a range of rows of a tensor, so that logits are made, used and dropped in chunks.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target};
use crate::engine::op::{Op, OpError, OpInfo, Twin, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::tensor::{Dtype, Spec};
use crate::engine::twin::Io;
use crate::shader;

pub static TAKE_ROWS: OpInfo = OpInfo { name: "take_rows", formula: "y = x[first .. first + rows]", cases };
pub static PUT_ROWS: OpInfo =
    OpInfo { name: "put_rows", formula: "y[first .. first + rows] ← x", cases: put_cases };

/// Copies rows `first..first + rows` of x (…, width) into y (rows, width).
#[derive(Debug)]
pub struct TakeRows {
    pub first: usize,
    pub rows: usize,
}

/// Copies x (rows, width) over rows `first..first + rows` of y (…, width), in place.
#[derive(Debug)]
pub struct PutRows {
    pub first: usize,
}

fn check_range(first: usize, rows: usize, of: Spec) -> Result<(), OpError> {
    if of.dtype == Dtype::F32 && rows > 0 && first + rows <= of.shape.rows() {
        return Ok(());
    }
    Err(OpError::new(format!("rows {first} to {} do not lie within {of}", first + rows)))
}

impl Op for TakeRows {
    fn info(&self) -> &'static OpInfo {
        &TAKE_ROWS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        check_range(self.first, self.rows, inputs[0])?;
        Ok(vec![Spec::f32([self.rows, inputs[0].shape.width()])])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let out = operands.out_shape(0);
        Kernel::plain(vec![
            Dispatch::new(shader!("rows/take"))
                .bind("x", In(0))
                .bind("y", Out(0))
                .param("first", self.first * out.width())
                .param("len", out.len())
                .groups(out.len().div_ceil(64), target),
        ])
    }
}

impl Twin for TakeRows {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, start) = (io.input(0), self.first * io.out_shape(0).width());
        let [y] = io.outputs();
        y.copy_from_slice(&x[start..start + y.len()]);
    }
}

impl Op for PutRows {
    fn info(&self) -> &'static OpInfo {
        &PUT_ROWS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        let (x, y) = (inputs[0], inputs[1]);
        check_range(self.first, x.shape.rows(), y)?;
        expect("x", x, Spec::f32(x.shape.with_width(y.shape.width())))?;
        Ok(vec![y])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 1)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(0);
        Kernel::plain(vec![
            Dispatch::new(shader!("rows/put"))
                .bind("x", In(0))
                .bind("y", Out(0))
                .param("first", self.first * x.width())
                .param("len", x.len())
                .groups(x.len().div_ceil(64), target),
        ])
    }
}

impl Twin for PutRows {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, start) = (io.input(0), self.first * io.out_shape(0).width());
        let [y] = io.outputs();
        y[start..start + x.len()].copy_from_slice(x);
    }
}

fn cases() -> Vec<Case> {
    [(0, 1, 1, 1), (3, 2, 7, 65), (1, 4, 5, 33), (2, 5, 9, 70)]
        .map(|(first, rows, of, width)| {
            Case::new(TakeRows { first, rows }, &[Spec::f32([of, width])], Bound::EXACT)
        })
        .into()
}

fn put_cases() -> Vec<Case> {
    [(0, 1, 1, 1), (3, 2, 7, 65), (1, 4, 5, 33), (2, 5, 9, 70)]
        .map(|(first, rows, of, width)| {
            let operands = [Spec::f32([rows, width]), Spec::f32([of, width])];
            Case::new(PutRows { first }, &operands, Bound::EXACT)
        })
        .into()
}
