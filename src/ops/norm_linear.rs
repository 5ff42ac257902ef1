//! norm_linear: r = x + branch, y = gelu(norm(r) Wᵀ + bias) of a single row: a norm with the product after it, in one
//! pass. Decoding is bound by how many kernels it starts.

use crate::engine::matrix::{Mat, MatMut, par_product};
use crate::ops::gelu::{Gelu, GeluApproximation};
use crate::ops::layer_norm::{moments, normalise};
use crate::ops::prelude::*;
use crate::ops::rms_norm::root;

pub static NORM_LINEAR: OpInfo =
    OpInfo { name: "norm_linear", formula: "r = x + branch, y = gelu(norm(r) Wᵀ + bias)", cases };

/// (x (…, n), \[branch (…, n)\], norm's weight (n), \[norm's bias (n)\], w (m, n), \[bias (m)\]) → y (…, m), r (…, n), where
/// x is one row: what a residual norm, a linear layer and GELU make of it.
#[derive(Clone, Copy, Debug)]
pub struct NormLinear {
    /// Without it, as in `rms_norm`, no mean is subtracted.
    pub centred: bool,
    pub eps: f32,
    pub branch: bool,
    pub norm_bias: bool,
    pub bias: bool,
    pub gelu: Option<GeluApproximation>,
}

/// The numbers of the operands.
struct Places {
    branch: Option<usize>,
    weight: usize,
    norm_bias: Option<usize>,
    w: usize,
    bias: Option<usize>,
    count: usize,
}

impl NormLinear {
    fn operands(&self) -> Places {
        let mut count = 1;
        let mut next = |given: bool| {
            count += usize::from(given);
            given.then_some(count - 1)
        };
        let branch = next(self.branch);
        let weight = next(true).unwrap_or_default();
        let norm_bias = next(self.norm_bias);
        let w = next(true).unwrap_or_default();
        let bias = next(self.bias);
        Places { branch, weight, norm_bias, w, bias, count }
    }
}

impl Op for NormLinear {
    fn info(&self) -> &'static OpInfo {
        &NORM_LINEAR
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let Places { branch, weight, norm_bias, w, bias, count } = self.operands();
        expect_operands(inputs, count, count)?;
        let x = inputs[0];
        let (n, m) = (x.shape.width(), inputs[w].shape.rows());
        if x != Spec::f32(x.shape) || x.shape.rows() != 1 {
            return Err(OpError::new(format!("operand `x` is {x}, but must be a single row")));
        }
        if let Some(branch) = branch {
            expect("branch", inputs[branch], x)?;
        }
        for (name, i) in [("weight", Some(weight)), ("norm_bias", norm_bias)] {
            i.map_or(Ok(()), |i| expect_vector(name, inputs[i], n))?;
        }
        expect("w", inputs[w], Spec::f32([m, n]))?;
        bias.map_or(Ok(()), |i| expect_vector("bias", inputs[i], m))?;
        Ok(vec![Spec::f32(x.shape.with_width(m)), x])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        // Columns whose sums a workgroup's threads share; on a rasteriser a thread does better alone with each.
        let cols = if target.software { 256 } else { 8 };
        let Places { branch, weight, norm_bias, w, bias, .. } = self.operands();
        let (rows, k) = (operands.in_shape(w).rows(), operands.in_shape(w).width());
        // What is not there has another operand bound to its variable, which is not read.
        let part = |(first, rows): (usize, usize)| {
            Dispatch::new(SHADER)
                .constant("COLS", cols as u32)
                .constant("CENTRED", self.centred.into())
                .constant("BRANCH", self.branch.into())
                .constant("NORM_BIAS", self.norm_bias.into())
                .constant("BIAS", self.bias.into())
                .constant("GELU", self.gelu.is_some().into())
                .constant("TANH", (self.gelu == Some(GeluApproximation::Tanh)).into())
                .bind("x", In(0))
                .bind("branch", In(branch.unwrap_or(0)))
                .bind("weight", In(weight))
                .bind("norm_bias", In(norm_bias.unwrap_or(weight)))
                .bind_part("w", In(w), first * k, rows * k)
                .bind("bias", In(bias.unwrap_or(weight)))
                .bind("y", Out(0))
                .bind("r", Out(1))
                .param("rows", rows)
                .param("k", k)
                .param("first", first)
                .param("eps", self.eps)
                .groups(rows.div_ceil(cols), target)
        };
        Kernel::plain(target.row_chunks(rows, k).into_iter().map(part).collect())
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let weights = operands.in_shape(self.operands().w).len() as u64;
        Cost { flops: 2 * weights + 9 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

/// With the functions of GELU.
const SHADER: Shader = Shader {
    common: &[
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/common/normal.wgsl")),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/gelu.wgsl")),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/common/reduce.wgsl")),
    ],
    ..shader!("norm_linear")
};

impl Twin for NormLinear {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let Places { branch, weight, norm_bias, w, bias, .. } = self.operands();
        let [x, weight, w] = [0, weight, w].map(|i| io.input(i));
        let [branch, norm_bias, bias] = [branch, norm_bias, bias].map(|i| i.map(|i| io.input(i)));
        let (n, eps, gelu) = (x.len(), self.eps, self.gelu.map(Gelu));
        let [y, r] = io.outputs();
        let mut normed = vec![F::ZERO; n];
        for_rows(
            [(r, n), (&mut normed, n)],
            n,
            #[inline(always)]
            |_, [r, normed]| {
                r.copy_from_slice(x);
                if let Some(branch) = branch {
                    r.iter_mut().zip(branch).for_each(|(r, &b)| *r += b);
                }
                let (mean, rstd) = if self.centred { moments(r, eps) } else { (F::ZERO, root(r, eps)) };
                normalise(normed, r, mean, rstd, weight, norm_bias);
            },
        );
        let m = y.len();
        par_product(MatMut::new(y, 1, m), false, F::ONE, Mat::new(&normed, 1, n), Mat::new(w, m, n).t());
        if let Some(bias) = bias {
            y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
        }
        if let Some(gelu) = gelu {
            for_rows(
                [(y, 1024)],
                1024,
                #[inline(always)]
                |_, [y]| {
                    // Local arrays, so that the loop vectorises.
                    for y in y.chunks_mut(32) {
                        let mut lanes = [F::ZERO; 32];
                        lanes[..y.len()].copy_from_slice(y);
                        for lane in &mut lanes {
                            *lane = gelu.value(*lane);
                        }
                        y.copy_from_slice(&lanes[..y.len()]);
                    }
                },
            );
        }
    }
}

/// Elements of a norm are off by up to 32 √n units, as in `residual_norm`, and their product with n numbers to ±1 by √n
/// times that; its own sum is one of n products of at most 3. GELU adds 16 units of the result.
fn bound(n: usize) -> Bound {
    Bound::new(24.0, 32.0 * n as f64 + 4.0 * 3.0 * n as f64 + 64.0)
}

/// (n, m): single elements; fewer and more columns than a workgroup has; rows longer than its threads; matrices that
/// small bindings split.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [2, 9], [65, 7], [33, 24], [300, 65], [64, 129]];

fn cases() -> Vec<Case> {
    let plain =
        NormLinear { centred: true, eps: 1e-5, branch: false, norm_bias: false, bias: false, gelu: None };
    let ops = [
        plain,
        NormLinear { branch: true, ..plain },
        NormLinear { norm_bias: true, gelu: Some(GeluApproximation::Tanh), ..plain },
        NormLinear {
            branch: true,
            norm_bias: true,
            bias: true,
            gelu: Some(GeluApproximation::Exact),
            ..plain
        },
        NormLinear { centred: false, ..plain },
        NormLinear { centred: false, branch: true, bias: true, ..plain },
    ];
    let specs = |op: &NormLinear, [n, m]: [usize; 2]| {
        let Places { branch, w, bias, count, .. } = op.operands();
        let spec = |i: usize| match i {
            0 => Spec::f32([1, n]),
            i if i == w => Spec::f32([m, n]),
            i if Some(i) == branch => Spec::f32([1, n]),
            i if Some(i) == bias => Spec::f32([m]),
            _ => Spec::f32([n]),
        };
        (0..count).map(spec).collect::<Vec<_>>()
    };
    let mut cases = Vec::new();
    for op in &ops {
        for shape in SHAPES {
            cases.push(Case::new(*op, &specs(op, shape), bound(shape[0])));
        }
    }
    // Of equal elements the variance is rounding noise below eps, magnified by 1/√eps = 316; of zeros everything is 0.
    let equal = Bound::new(24.0, 316.0 * 16.0 * 3.0 * 70.0);
    for (op, x) in [(ops[0], 3.0), (ops[4], 0.0)] {
        cases.push(Case::new(op, &specs(&op, [70, 9]), equal).with(0, Fill::Constant(x)));
    }
    cases
}
