//! gated: SwiGLU's y = silu(g) · u (Shazeer 2020): one projection of a layer opens and shuts the other.

use super::activation::bound;
use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static GATED: OpInfo = OpInfo { name: "gated", formula: "y = g σ(g) u", cases };
pub static GATED_BACKWARD: OpInfo = OpInfo {
    name: "gated_backward",
    formula: "dg = dy u (σ(g) + g σ'(g)), du = dy g σ(g)",
    cases: backward_cases,
};

/// (g, u) → y of the same shape.
#[derive(Debug)]
pub struct Gated;

/// (g, u, dy) → dg, du.
#[derive(Debug)]
pub struct GatedBackward;

impl Op for Gated {
    fn info(&self) -> &'static OpInfo {
        &GATED
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("u", inputs[1], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("gated/forward", "sigmoid"));
        let bindings = [("g", In(0)), ("u", In(1)), ("y", Out(0))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let operands = [at.inputs[0], at.inputs[1], at.upstream(0)?];
        let gradients = tape.record(std::sync::Arc::new(GatedBackward), &operands)?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 6 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for Gated {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (g, u, width) = (io.input(0), io.input(1), io.out_shape(0).width());
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            width,
            #[inline(always)]
            |row, [y]| {
                let operands = g[row * width..].iter().zip(&u[row * width..]);
                for (y, (&g, &u)) in y.iter_mut().zip(operands) {
                    *y = g * g.sigmoid() * u;
                }
            },
        );
    }
}

impl Op for GatedBackward {
    fn info(&self) -> &'static OpInfo {
        &GATED_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        expect("u", inputs[1], inputs[0])?;
        expect("dy", inputs[2], inputs[0])?;
        Ok(vec![inputs[0]; 2])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("gated/backward", "sigmoid"));
        let bindings = [("g", In(0)), ("u", In(1)), ("dy", In(2)), ("dg", Out(0)), ("du", Out(1))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 14 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for GatedBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [g, u, dy] = std::array::from_fn(|i| io.input(i));
        let width = io.out_shape(0).width();
        let [dg, du] = io.outputs();
        for_rows(
            [(dg, width), (du, width)],
            2 * width,
            #[inline(always)]
            |row, [dg, du]| {
                let at = row * width;
                let operands = g[at..].iter().zip(&u[at..]).zip(&dy[at..]);
                for ((dg, du), ((&g, &u), &dy)) in dg.iter_mut().zip(du).zip(operands) {
                    let sigmoid = g.sigmoid();
                    *dg = dy * u * (sigmoid + g * g.sigmoid_slope());
                    *du = dy * g * sigmoid;
                }
            },
        );
    }
}

const SIZES: [([usize; 2], f32); 5] =
    [([1, 1], 1.0), ([3, 65], 6.0), ([7, 129], 1e4), ([1, 1409], 3.0), ([5, 67], 40.0)];

fn cases() -> Vec<Case> {
    let case = |(shape, largest)| {
        Case::new(Gated, &[Spec::f32(shape); 2], bound(largest)).with(0, Fill::Uniform(largest))
    };
    SIZES.map(case).into()
}

/// As for the derivative of SiLU, which is a difference of terms below 1 where it crosses zero.
fn backward_cases() -> Vec<Case> {
    let case = |(shape, largest)| {
        let bound = Bound { absolute: 8.0, ..bound(largest) };
        Case::new(GatedBackward, &[Spec::f32(shape); 3], bound).with(0, Fill::Uniform(largest))
    };
    SIZES.map(case).into()
}
