//! activation: y = f(x), element by element: sigmoid, tanh, ReLU, ReLU² (So et al. 2021) or SiLU (Elfwing et al.
//! 2018). GELU has an op of its own.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{
    Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands, record_one,
};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static ACTIVATION: OpInfo = OpInfo { name: "activation", formula: "y = f(x)", cases };
pub static ACTIVATION_BACKWARD: OpInfo =
    OpInfo { name: "activation_backward", formula: "dx = dy f'(x)", cases: backward_cases };

/// Which f is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// σ(x) = 1/(1 + e⁻ˣ).
    Sigmoid,
    Tanh,
    /// max(x, 0); its slope at 0 is 0.
    Relu,
    /// max(x, 0)².
    ReluSquared,
    /// x σ(x).
    Silu,
}

/// y = f(x).
#[derive(Debug)]
pub struct Activation(pub Kind);

/// (x, dy) → dx = dy f'(x).
#[derive(Debug)]
pub struct ActivationBackward(pub Kind);

impl Kind {
    const ALL: [Self; 5] = [Self::Sigmoid, Self::Tanh, Self::Relu, Self::ReluSquared, Self::Silu];

    #[inline(always)]
    fn value<F: Real>(self, x: F) -> F {
        let positive = if x < F::ZERO { F::ZERO } else { x };
        match self {
            Self::Sigmoid => x.sigmoid(),
            Self::Tanh => x.tanh(),
            Self::Relu => positive,
            Self::ReluSquared => positive * positive,
            Self::Silu => x * x.sigmoid(),
        }
    }

    /// 1 - tanh² would cancel in the tails; 4 σ'(2x) is the same and does not.
    #[inline(always)]
    fn slope<F: Real>(self, x: F) -> F {
        match self {
            Self::Sigmoid => x.sigmoid_slope(),
            Self::Tanh => F::of(4.0) * (F::of(2.0) * x).sigmoid_slope(),
            Self::Relu => {
                if x > F::ZERO {
                    F::ONE
                } else {
                    F::ZERO
                }
            }
            Self::ReluSquared => F::of(2.0) * if x < F::ZERO { F::ZERO } else { x },
            Self::Silu => x.sigmoid() + x * x.sigmoid_slope(),
        }
    }
}

impl Op for Activation {
    fn info(&self) -> &'static OpInfo {
        &ACTIVATION
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect("x", inputs[0], Spec::f32(inputs[0].shape))?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch =
            Dispatch::new(shader!("activation/forward", "sigmoid", "normal")).constant("KIND", self.0 as u32);
        elementwise(&dispatch, &[("x", In(0)), ("y", Out(0))], operands.out_shape(0).len(), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dx = record_one(tape, ActivationBackward(self.0), &[at.inputs[0], at.upstream(0)?])?;
        Ok(vec![Some(dx)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 5 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for Activation {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (kind, x, width) = (self.0, io.input(0), io.out_shape(0).width());
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            width,
            #[inline(always)]
            |row, [y]| {
                for (y, &x) in y.iter_mut().zip(&x[row * width..]) {
                    *y = kind.value(x);
                }
            },
        );
    }
}

impl Op for ActivationBackward {
    fn info(&self) -> &'static OpInfo {
        &ACTIVATION_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("dy", inputs[1], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch =
            Dispatch::new(shader!("activation/backward", "sigmoid")).constant("KIND", self.0 as u32);
        let bindings = [("x", In(0)), ("dy", In(1)), ("dx", Out(0))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 8 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for ActivationBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (kind, x, dy, width) = (self.0, io.input(0), io.input(1), io.out_shape(0).width());
        let [dx] = io.outputs();
        for_rows(
            [(dx, width)],
            width,
            #[inline(always)]
            |row, [dx]| {
                let operands = x[row * width..].iter().zip(&dy[row * width..]);
                for (dx, (&x, &dy)) in dx.iter_mut().zip(operands) {
                    *dx = dy * kind.slope(x);
                }
            },
        );
    }
}

/// Of numbers up to `largest`: exp of -|x| is off by 3 + 2|x| units of itself, down to e⁻⁸⁷ and twice that for
/// tanh's slope, and a few operations follow. Below that it may be flushed to zero, times an |x| of at most 104:
/// 1e-36. The slope of SiLU is a difference of terms below 1 where it crosses zero.
pub(super) fn bound(largest: f32) -> Bound {
    let exponent = f64::from(largest.min(88.0));
    Bound::new(8.0 + 2.0 * exponent, 2e-29)
}

const SIZES: [([usize; 2], f32); 5] =
    [([1, 1], 1.0), ([3, 65], 6.0), ([7, 129], 1e4), ([1, 1409], 0.7), ([5, 67], 40.0)];

fn cases() -> Vec<Case> {
    let case = |kind, (shape, largest)| {
        let case = Case::new(Activation(kind), &[Spec::f32(shape)], bound(largest));
        case.with(0, Fill::Uniform(largest))
    };
    Kind::ALL.into_iter().flat_map(|kind| SIZES.map(|size| case(kind, size))).collect()
}

fn backward_cases() -> Vec<Case> {
    let case = |kind, (shape, largest): ([usize; 2], f32), fill| {
        let absolute = if kind == Kind::Silu { 8.0 } else { 2e-29 };
        let bound = Bound { absolute, ..bound(2.0 * largest) };
        Case::new(ActivationBackward(kind), &[Spec::f32(shape); 2], bound).with(0, fill)
    };
    let of_kind = |kind| {
        let mut cases = SIZES.map(|size| case(kind, size, Fill::Uniform(size.1))).to_vec();
        // Zeros among them, where ReLU bends.
        cases.push(case(kind, ([2, 33], 1.0), Fill::Ties));
        cases
    };
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}
