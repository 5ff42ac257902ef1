//! squares and grad_norm: √Σ g² over all gradients, for clipping by global norm (Pascanu et al. 2013).

use crate::ops::prelude::*;

pub static SQUARES: OpInfo =
    OpInfo { name: "squares", formula: "partials[first + block] ← Σ_block g²", cases: squares_cases };
pub static GRAD_NORM: OpInfo =
    OpInfo { name: "grad_norm", formula: "grad_norm = √Σ partials", cases: norm_cases };

/// Elements of a gradient whose squares make one partial sum.
pub const BLOCK: usize = 4096;

/// (gradient (…), partials (n)) → partials, in place: this tensor's sums of squares, a block each, from
/// `first` on.
#[derive(Debug)]
pub struct Squares {
    pub first: usize,
}

/// partials (n) → (1).
#[derive(Debug)]
pub struct GradNorm;

impl Squares {
    /// How many partial sums a gradient of `len` elements has.
    pub fn blocks(len: usize) -> usize {
        len.div_ceil(BLOCK)
    }
}

impl Op for Squares {
    fn info(&self) -> &'static OpInfo {
        &SQUARES
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        let needed = self.first + Self::blocks(inputs[0].shape.len());
        if inputs[1].shape.len() < needed {
            return Err(OpError::new(format!(
                "operand `partials` is {}, but holds sums up to {needed}",
                inputs[1]
            )));
        }
        Ok(vec![inputs[1]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 1)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let blocks = Self::blocks(operands.in_shape(0).len());
        let len = operands.in_shape(0).len();
        let part = |(first, rows): (usize, usize)| {
            let part_len = (rows * BLOCK).min(len - first * BLOCK);
            Dispatch::new(shader!("grad_norm/squares", "reduce"))
                .constant("BLOCK", BLOCK as u32)
                .bind_part("gradient", In(0), first * BLOCK, part_len)
                .bind("partials", Out(0))
                .param("len", part_len)
                .param("first", self.first + first)
                .groups(rows, target)
        };
        Kernel::plain(target.row_chunks(blocks, BLOCK).into_iter().map(part).collect())
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.in_shape(0).len() as u64;
        Cost { flops: 2 * len, bytes: 4 * len }
    }
}

impl Twin for Squares {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let gradient = io.input(0);
        let [partials] = io.outputs();
        let blocks = partials[self.first..].iter_mut().zip(gradient.chunks(BLOCK));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (partial, block) in blocks {
                    let mut sums = [F::ZERO; 32];
                    for chunk in block.chunks(32) {
                        for (sum, &g) in sums.iter_mut().zip(chunk) {
                            *sum += g * g;
                        }
                    }
                    *partial = sums.into_iter().sum();
                }
            },
        );
    }
}

impl Op for GradNorm {
    fn info(&self) -> &'static OpInfo {
        &GRAD_NORM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect("partials", inputs[0], Spec::f32([inputs[0].shape.len()]))?;
        Ok(vec![Spec::f32([1])])
    }

    fn kernels(&self, operands: &Operands, _target: &Target) -> Vec<Kernel> {
        Kernel::plain(vec![
            Dispatch::new(shader!("grad_norm/norm", "reduce"))
                .bind("partials", In(0))
                .bind("norm", Out(0))
                .param("len", operands.in_shape(0).len()),
        ])
    }
}

impl Twin for GradNorm {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let partials = io.input(0);
        let [norm] = io.outputs();
        norm[0] = partials.iter().copied().sum::<F>().sqrt();
    }
}

/// (first, elements, partials). A grid folded to rows of three has workgroups to spare with four blocks: they
/// must not touch the partial after them. With six it has two full rows.
const SIZES: [(usize, usize, usize); 8] = [
    (0, 1, 1),
    (2, 65, 5),
    (1, 4095, 3),
    (0, 4096, 1),
    (1, 4097, 3),
    (3, 9001, 7),
    (1, 4 * BLOCK, 6),
    (0, 5 * BLOCK + 1, 6),
];

fn squares_cases() -> Vec<Case> {
    SIZES
        .map(|(first, len, n)| {
            let operands = [Spec::f32([len]), Spec::f32([n])];
            Case::new(Squares { first }, &operands, Bound::sum(len.min(BLOCK), 1.0))
        })
        .into()
}

fn norm_cases() -> Vec<Case> {
    [1, 63, 300, 1009]
        .map(|n| {
            // A relative error of √n units in the sum is half that in its root.
            let bound = Bound::new(4.0 + 2.0 * f64::from(n as u32).sqrt(), 0.0);
            Case::new(GradNorm, &[Spec::f32([n])], bound).with(0, Fill::Between(0.0, 2.0))
        })
        .into()
}
