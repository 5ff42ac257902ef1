//! grad_norm: √Σ g² over all gradients, for clipping by global norm (Pascanu et al. 2013).

use crate::ops::prelude::*;

pub static GRAD_NORM: OpInfo = OpInfo { name: "grad_norm", formula: "grad_norm = √Σ g²", cases };

/// Elements of a gradient whose squares make one partial sum.
pub const BLOCK: usize = 4096;

/// (gradient (…), …) → (1).
#[derive(Debug)]
pub struct GradNorm;

impl Op for GradNorm {
    fn info(&self) -> &'static OpInfo {
        &GRAD_NORM
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        if inputs.is_empty() {
            return Err(OpError::new("there are no gradients"));
        }
        for &gradient in inputs {
            expect("gradient", gradient, Spec::f32(gradient.shape))?;
        }
        Ok(vec![Spec::f32([1])])
    }

    fn joins(&self) -> Joins {
        Joins::Operands
    }

    /// Sums of blocks, then their sum.
    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let mut dispatches = Vec::new();
        let mut partials = 0;
        for (i, gradient) in operands.inputs.iter().enumerate() {
            let len = gradient.shape.len();
            for (first, blocks) in target.row_chunks(len.div_ceil(BLOCK), BLOCK) {
                let part = (blocks * BLOCK).min(len - first * BLOCK);
                dispatches.push(
                    Dispatch::new(shader!("grad_norm/squares", "reduce"))
                        .constant("BLOCK", BLOCK as u32)
                        .bind_part("gradient", In(i), first * BLOCK, part)
                        .bind("partials", Scratch)
                        .param("len", part)
                        .param("first", partials)
                        .groups(blocks, target),
                );
                partials += blocks;
            }
        }
        // From the last on, so that one that wrote beyond its own sums would spoil what is there already.
        dispatches.reverse();
        dispatches.push(
            Dispatch::new(shader!("grad_norm/norm", "reduce"))
                .bind("partials", Scratch)
                .bind("norm", Out(0))
                .param("len", partials),
        );
        vec![Kernel { scratch: partials, ..Kernel::new("plain", dispatches) }]
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len: usize = operands.inputs.iter().map(|gradient| gradient.shape.len()).sum();
        Cost { flops: 2 * len as u64, bytes: operands.bytes() }
    }
}

impl Twin for GradNorm {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let mut sum = F::ZERO;
        for i in 0..io.n_inputs() {
            let gradient = io.input(i);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for block in gradient.chunks(BLOCK) {
                        let mut sums = [F::ZERO; 32];
                        for chunk in block.chunks(32) {
                            for (sum, &g) in sums.iter_mut().zip(chunk) {
                                *sum += g * g;
                            }
                        }
                        sum += sums.into_iter().sum::<F>();
                    }
                },
            );
        }
        let [norm] = io.outputs();
        norm[0] = sum.sqrt();
    }
}

/// Elements of each gradient. A grid folded to rows of three has workgroups to spare with four blocks: they must not
/// touch the sum after theirs. With six it has two full rows.
fn sizes() -> [Vec<usize>; 9] {
    [
        vec![1],
        vec![65, 1],
        vec![4095],
        vec![BLOCK, 7],
        vec![4097, 4096, 1],
        vec![9001],
        vec![4 * BLOCK, 65],
        vec![5 * BLOCK + 1, 2 * BLOCK],
        // More sums than a workgroup has threads.
        vec![3; 300],
    ]
}

/// Squares are positive, so the error of their sum is relative: one unit each for square and root, and for every
/// addition on the way of a term: 64 in a thread, those of a tree, and one for each further 256 blocks. They walk at
/// random, and the root halves them.
fn cases() -> Vec<Case> {
    let case = |lens: Vec<usize>| {
        let operands: Vec<_> = lens.into_iter().map(|len| Spec::f32([len])).collect();
        Case::new(GradNorm, &operands, Bound::new(4.0 + f64::sqrt(64.0 + 12.0), 0.0))
    };
    sizes().into_iter().map(case).collect()
}
