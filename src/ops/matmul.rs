//! matmul: C = scale · A·B + bias: linear layers, their backward pass, the head and attention by parts.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Shader, Target};
use crate::engine::matrix::{Mat, MatMut, par_product, product};
use crate::engine::op::{
    Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands, expect_vector, record_one,
};
use crate::engine::real::Real;
use crate::engine::tensor::{Shape, Spec};
use crate::engine::twin::Io;
use crate::ops::column_sum::ColumnSum;
use crate::shader;

pub static MATMUL: OpInfo = OpInfo { name: "matmul", formula: "C = scale · A·B + bias", cases };

/// (a, b, [bias (n)], [c]) → c.
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
        let mut kernels = vec![self.kernel("naive", &NAIVE, operands, target)];
        if TILED.invocations <= target.workgroup_size {
            kernels.push(self.kernel("tiled", &TILED, operands, target));
        }
        kernels.push(self.kernel("register", &REGISTER, operands, target));
        // Workgroup memory pays on a GPU; on the CPU it is one more copy.
        if !target.software {
            kernels.swap(1, 2);
        }
        kernels
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
            gradients[2] = Some(ColumnSum::record(tape, dc, shape, at.so_far[2])?);
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

/// A WGSL kernel and the tile of C that one of its workgroups computes.
struct Tiling {
    shader: Shader,
    rows: usize,
    cols: usize,
    invocations: u32,
}

const NAIVE: Tiling = Tiling { shader: shader!("matmul/naive"), rows: 8, cols: 8, invocations: 64 };
const TILED: Tiling = Tiling { shader: shader!("matmul/tiled"), rows: 64, cols: 64, invocations: 256 };
const REGISTER: Tiling = Tiling { shader: shader!("matmul/register"), rows: 64, cols: 64, invocations: 64 };

impl Matmul {
    /// One dispatch, or one per block of rows where an operand does not fit a binding.
    fn kernel(&self, variant: &'static str, tiling: &Tiling, operands: &Operands, target: &Target) -> Kernel {
        let (Extents { batch, m, n, k }, _) = self.extents(operands.in_shape(0), operands.in_shape(1));
        let (a_width, b_width) = (operands.in_shape(0).width(), operands.in_shape(1).width());
        // Each extent is cut where it counts rows of an operand that does not fit.
        let widest = |rows_of: &[(bool, usize)]| {
            rows_of.iter().filter(|(counts, _)| *counts).map(|(_, width)| *width).max()
        };
        let m_parts = self.parts(m, widest(&[(true, n), (!self.transpose_a, k)]), target);
        let n_parts = self.parts(n, widest(&[(self.transpose_b, k)]), target);
        let k_parts = self.parts(k, widest(&[(self.transpose_a, m), (!self.transpose_b, n)]), target);

        let mut dispatches = Vec::new();
        for &m in &m_parts {
            for &n in &n_parts {
                for (i, &k) in k_parts.iter().enumerate() {
                    let (a_rows, a_cols) = if self.transpose_a { (k, m) } else { (m, k) };
                    let (b_rows, b_cols) = if self.transpose_b { (n, k) } else { (k, n) };
                    let c_width = operands.out_shape(0).width();
                    let bias = if self.bias { (In(2), c_width) } else { (In(0), 1) };
                    let bind = |d: Dispatch, name, operand, rows: Part, width: usize| {
                        d.bind_part(name, operand, rows.first * width, rows.len * width * batch)
                    };
                    let dispatch = Dispatch::new(tiling.shader)
                        .constant("TRANSPOSE_A", self.transpose_a.into())
                        .constant("TRANSPOSE_B", self.transpose_b.into())
                        .constant("BIAS", self.bias.into())
                        .bind_part("bias", bias.0, 0, bias.1)
                        .param("m", m.len)
                        .param("n", n.len)
                        .param("k", k.len)
                        .param("a_width", a_width)
                        .param("b_width", b_width)
                        .param("c_width", c_width)
                        .param("a_col", a_cols.first)
                        .param("b_col", b_cols.first)
                        .param("c_col", n.first)
                        .param("scale", self.scale)
                        .param("accumulate", self.accumulate || i > 0)
                        .param("add_bias", i == 0)
                        .grid(n.len.div_ceil(tiling.cols), m.len.div_ceil(tiling.rows), batch);
                    let dispatch = bind(dispatch, "a", In(0), a_rows, a_width);
                    let dispatch = bind(dispatch, "b", In(1), b_rows, b_width);
                    dispatches.push(bind(dispatch, "c", Out(0), m, c_width));
                }
            }
        }
        Kernel::new(variant, dispatches)
    }

    /// Cuts an extent that counts rows of `width` elements into parts that fit a binding.
    fn parts(&self, rows: usize, width: Option<usize>, target: &Target) -> Vec<Part> {
        let most = width.map_or(rows, |width| (target.max_binding_bytes / (4 * width as u64)) as usize);
        // 64 rows are a whole number of alignments at any width, so one cut serves several operands.
        let step = if self.batched || rows <= most { rows } else { (most / 64 * 64).max(64) };
        (0..rows).step_by(step).map(|first| Part { first, len: step.min(rows - first) }).collect()
    }
}

/// A range of one extent.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    len: usize,
}

/// (m, n, k): ones, primes, vectors, and sizes around every tile edge.
const EXTENTS: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (1, 65, 33),
    (67, 1, 5),
    (3, 5, 129),
    (17, 64, 16),
    (64, 63, 65),
    (65, 64, 15),
    (70, 129, 17),
    (128, 66, 8),
    (2, 257, 64),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (m, n, k) in EXTENTS {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if transpose_a { [k, m] } else { [m, k] };
            let b = if transpose_b { [n, k] } else { [k, n] };
            let plain = Matmul { transpose_a, transpose_b, ..Matmul::default() };
            let operands = [Spec::f32(a), Spec::f32(b), Spec::f32([n]), Spec::f32([m, n])];
            // A product of k terms in ±1; four units each, as fused and separate rounding differ.
            let bound = Bound::sum(k + 2, 1.0);
            cases.push(Case::new(plain, &operands[..2], bound));
            if (m, n, k) == (17, 64, 16) || (m, n, k) == (70, 129, 17) {
                let scaled = Matmul { scale: 0.3, bias: true, ..plain };
                cases.push(Case::new(scaled, &operands[..3], bound));
                let all = Matmul { bias: true, accumulate: true, ..plain };
                cases.push(Case::new(all, &operands, bound));
                let batched = Matmul { batched: true, ..plain };
                let triple = |[rows, width]: [usize; 2]| Spec::f32([3, rows, width]);
                cases.push(Case::new(batched, &[triple(a), triple(b)], bound));
            }
        }
    }
    cases
}
