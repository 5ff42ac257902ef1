//! take_rows, put_rows and concat_rows: a range of rows of a tensor, so that logits are made, used and dropped in
//! chunks, and tensors over one another, such as the states of a recurrent network.

use crate::ops::prelude::*;
use crate::ops::reshape::Reshape;

pub static TAKE_ROWS: OpInfo = OpInfo { name: "take_rows", formula: "y = x[first .. first + rows]", cases };
pub static PUT_ROWS: OpInfo =
    OpInfo { name: "put_rows", formula: "y[first .. first + rows] ← x", cases: put_cases };

pub static CONCAT_ROWS: OpInfo =
    OpInfo { name: "concat_rows", formula: "y = x₁ over x₂ over …", cases: concat_cases };

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

/// (x₁ (…, width), x₂ (…, width), …) → y (all rows, width): as many operands as there are.
#[derive(Debug)]
pub struct ConcatRows;

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
                .elements(out.len(), target),
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
                .elements(x.len(), target),
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

impl Op for ConcatRows {
    fn info(&self) -> &'static OpInfo {
        &CONCAT_ROWS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, usize::MAX)?;
        let width = inputs[0].shape.width();
        for &x in inputs {
            expect("x", x, Spec::f32(x.shape.with_width(width)))?;
        }
        Ok(vec![Spec::f32([inputs.iter().map(|x| x.shape.rows()).sum(), width])])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let mut first = 0;
        let copy = |(i, x): (usize, &Spec)| {
            first += x.shape.len();
            Dispatch::new(shader!("rows/put"))
                .bind("x", In(i))
                .bind("y", Out(0))
                .param("first", first - x.shape.len())
                .elements(x.shape.len(), target)
        };
        Kernel::plain(operands.inputs.iter().enumerate().map(copy).collect())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let (dy, mut first, mut gradients) = (at.upstream(0)?, 0, Vec::new());
        for (&x, &wanted) in at.inputs.iter().zip(at.wanted) {
            let shape = tape.spec(x).shape;
            let take = TakeRows { first, rows: shape.rows() };
            let dx = wanted.then(|| record_one(tape, take, &[dy])).transpose()?;
            // A tensor of higher rank gets its shape back.
            let reshape = |dx| match shape.dims().len() {
                2 => Ok(dx),
                _ => record_one(tape, Reshape(shape), &[dx]),
            };
            gradients.push(dx.map(reshape).transpose()?);
            first += shape.rows();
        }
        Ok(gradients)
    }
}

impl Twin for ConcatRows {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let inputs: Vec<_> = (0..io.n_inputs()).map(|i| io.input(i)).collect();
        let [mut rest] = io.outputs();
        for x in inputs {
            let (head, tail) = rest.split_at_mut(x.len());
            head.copy_from_slice(x);
            rest = tail;
        }
    }
}

fn cases() -> Vec<Case> {
    [(0, 1, 1, 1), (3, 2, 7, 65), (1, 4, 5, 33), (2, 5, 9, 70), (4, 21, 29, 67)]
        .map(|(first, rows, of, width)| {
            Case::new(TakeRows { first, rows }, &[Spec::f32([of, width])], Bound::EXACT)
        })
        .into()
}

fn put_cases() -> Vec<Case> {
    [(0, 1, 1, 1), (3, 2, 7, 65), (1, 4, 5, 33), (2, 5, 9, 70), (4, 21, 29, 67)]
        .map(|(first, rows, of, width)| {
            let operands = [Spec::f32([rows, width]), Spec::f32([of, width])];
            Case::new(PutRows { first }, &operands, Bound::EXACT)
        })
        .into()
}

/// One, two and more operands than an op mostly has; of other ranks too.
fn concat_cases() -> Vec<Case> {
    let case = |operands: &[Spec]| Case::new(ConcatRows, operands, Bound::EXACT);
    vec![
        case(&[Spec::f32([1, 1])]),
        case(&[Spec::f32([2, 3, 13]), Spec::f32([1, 13]), Spec::f32([13])]),
        case(&[Spec::f32([3, 65]), Spec::f32([5, 65])]),
        case(&[Spec::f32([21, 67]), Spec::f32([2, 67])]),
        case(&[Spec::f32([2, 7]); 11]),
    ]
}
