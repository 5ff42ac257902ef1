//! matmul: C = scale · A·B + bias: linear layers, their backward pass, the head and attention by parts.

mod cases;
mod kernels;
mod tiles;

use crate::engine::matrix::{Mat, MatMut, par_product, product};
use crate::ops::column_sum::ColumnSum;
use crate::ops::prelude::*;

pub static MATMUL: OpInfo =
    OpInfo { name: "matmul", formula: "C = scale · A·B + bias", cases: cases::cases };

/// `(a, b, [bias (n)], [c])` → c.
///
/// Without `batched`, both are read as (rows, width) whatever their rank. With it both have rank 3 and are
/// multiplied pair by pair. `a` is (m, k), or (k, m) when transposed; `b` is (k, n), or (n, k),
/// the layout of a linear layer's weight.
#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub batched: bool,
    pub scale: f32,
    pub bias: bool,
    /// The last operand is a tensor that the product is added to in place.
    pub accumulate: bool,
}

impl Default for Matmul {
    /// C = A·B.
    fn default() -> Self {
        Self {
            transpose_a: false,
            transpose_b: false,
            batched: false,
            scale: 1.0,
            bias: false,
            accumulate: false,
        }
    }
}

/// Extents of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Matmul {
    /// A linear layer's x·Wᵀ.
    pub const LINEAR: Self = Self {
        transpose_a: false,
        transpose_b: true,
        batched: false,
        scale: 1.0,
        bias: false,
        accumulate: false,
    };

    fn extents(&self, a: Shape, b: Shape) -> (Extents, usize) {
        let (batch, a_rows) = if self.batched { (a.dims()[0], a.dims()[1]) } else { (1, a.rows()) };
        let (m, k) = if self.transpose_a { (a.width(), a_rows) } else { (a_rows, a.width()) };
        let b_rows = if self.batched { b.dims()[1] } else { b.rows() };
        let (k_of_b, n) = if self.transpose_b { (b.width(), b_rows) } else { (b_rows, b.width()) };
        (Extents { batch, m, n, k }, k_of_b)
    }

    fn n_operands(&self) -> usize {
        2 + usize::from(self.bias) + usize::from(self.accumulate)
    }

    /// Records this product, added in place to `so_far` where there is one.
    fn record(
        mut self,
        tape: &mut dyn Record,
        a: Var,
        b: Var,
        so_far: Option<Var>,
    ) -> Result<Option<Var>, OpError> {
        self.accumulate = so_far.is_some();
        let operands: Vec<_> = [Some(a), Some(b), so_far].into_iter().flatten().collect();
        record_one(tape, self, &operands).map(Some)
    }
}

impl Op for Matmul {
    fn info(&self) -> &'static OpInfo {
        &MATMUL
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, self.n_operands(), self.n_operands())?;
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let triple = |shape: Shape| shape.dims().len() == 3;
        let fits = !self.batched || (triple(a) && triple(b) && a.dims()[0] == b.dims()[0]);
        let (Extents { batch, m, n, k }, k_of_b) = self.extents(a, b);
        if !fits || k != k_of_b {
            let t = |transposed| if transposed { "ᵀ" } else { "" };
            return Err(OpError::new(format!(
                "a{} and b{} do not multiply: a is {a}, b is {b}",
                t(self.transpose_a),
                t(self.transpose_b)
            )));
        }
        let c = match (self.batched, self.transpose_a) {
            (true, _) => Shape::from([batch, m, n]),
            (false, true) => Shape::from([m, n]),
            (false, false) => a.with_width(n),
        };
        if self.bias {
            expect_vector("bias", inputs[2], n)?;
        }
        if self.accumulate {
            expect("c", inputs[self.n_operands() - 1], Spec::f32(c))?;
        }
        Ok(vec![Spec::f32(c)])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.accumulate { vec![(0, self.n_operands() - 1)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        kernels::kernels(self, operands, target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let (a, b, dc) = (at.inputs[0], at.inputs[1], at.upstream(0)?);
        let with = |transpose_a, transpose_b| Self {
            transpose_a,
            transpose_b,
            bias: false,
            accumulate: false,
            ..*self
        };
        let mut gradients = vec![None; at.inputs.len()];
        if at.wanted[0] {
            gradients[0] = match self.transpose_a {
                false => with(false, !self.transpose_b).record(tape, dc, b, at.so_far[0])?,
                true => with(self.transpose_b, true).record(tape, b, dc, at.so_far[0])?,
            };
        }
        if at.wanted[1] {
            gradients[1] = match self.transpose_b {
                false => with(!self.transpose_a, false).record(tape, a, dc, at.so_far[1])?,
                true => with(true, self.transpose_a).record(tape, dc, a, at.so_far[1])?,
            };
        }
        if self.bias && at.wanted[2] {
            let shape = tape.spec(at.inputs[2]).shape;
            gradients[2] = Some(ColumnSum::record(tape, dc, shape.len(), shape, at.so_far[2])?);
        }
        if self.accumulate {
            gradients[self.n_operands() - 1] = Some(dc);
        }
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let (Extents { batch, m, n, k }, _) = self.extents(operands.in_shape(0), operands.in_shape(1));
        Cost { flops: 2 * (batch * m * n * k) as u64, bytes: operands.bytes() }
    }
}

impl Twin for Matmul {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (Extents { batch, m, n, k }, _) = self.extents(io.in_shape(0), io.in_shape(1));
        let (a, b) = (io.input(0), io.input(1));
        let bias = self.bias.then(|| io.input(2));
        let scale = F::of(self.scale.into());
        let [c] = io.outputs();
        let view_a = |i: usize| {
            let a = &a[i * m * k..][..m * k];
            if self.transpose_a { Mat::new(a, k, m).t() } else { Mat::new(a, m, k) }
        };
        let view_b = |i: usize| {
            let b = &b[i * k * n..][..k * n];
            if self.transpose_b { Mat::new(b, n, k).t() } else { Mat::new(b, k, n) }
        };
        if batch == 1 {
            par_product(MatMut::new(c, m, n), self.accumulate, scale, view_a(0), view_b(0));
        } else {
            for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
                product(&mut MatMut::new(c, m, n), self.accumulate, scale, view_a(i), view_b(i));
            }
        }
        if let Some(bias) = bias {
            for row in c.chunks_exact_mut(n) {
                row.iter_mut().zip(bias).for_each(|(c, &b)| *c += b);
            }
        }
    }
}
