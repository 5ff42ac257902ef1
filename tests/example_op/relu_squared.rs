//! relu_squared: y = max(x, 0)², the activation of Primer (So et al. 2021).

use lal::engine::case::{Bound, Case, Fill};
use lal::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Shader, Target, elementwise};
use lal::engine::op::{
    Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands, record_one,
};
use lal::engine::real::Real;
use lal::engine::rows::for_rows;
use lal::engine::tensor::Spec;
use lal::engine::twin::Io;

// Inside the library it would be `shader!("relu_squared")`, from shaders/relu_squared.wgsl.
const SHADER: Shader =
    Shader { name: "relu_squared", source: include_str!("relu_squared.wgsl"), common: &[] };

// 1. What the registry says of the two ops.
pub static RELU_SQUARED: OpInfo = OpInfo { name: "relu_squared", formula: "y = max(x, 0)²", cases };
pub static RELU_SQUARED_BACKWARD: OpInfo =
    OpInfo { name: "relu_squared_backward", formula: "dx = 2 max(x, 0) dy", cases: backward_cases };

/// x → y = max(x, 0)².
#[derive(Debug)]
pub struct ReluSquared;

/// (x, dy) → dx = 2 max(x, 0) dy.
#[derive(Debug)]
pub struct ReluSquaredBackward;

impl Op for ReluSquared {
    fn info(&self) -> &'static OpInfo {
        &RELU_SQUARED
    }

    // 2. The contract: one operand of any shape, and a result like it.
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        Ok(vec![inputs[0]])
    }

    // 3. The kernels. `elementwise` adds `first` and `len`, sizes the grid, and repeats the dispatch where a
    //    tensor is larger than one binding.
    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let bindings = [("x", In(0)), ("factor", In(0)), ("out", Out(0))];
        elementwise(&Dispatch::new(SHADER), &bindings, operands.out_shape(0).len(), target)
    }

    // 4. The derivative: it appends an ordinary op, which the GPU runs like any other.
    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dx = record_one(tape, ReluSquaredBackward, &[at.inputs[0], at.upstream(0)?])?;
        Ok(vec![Some(dx)])
    }

    // 5. The cost: a comparison and a product for each element.
    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 2 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

// 6. The twin: the formula as a loop, over f32 to compute with and f64 to judge by.
impl Twin for ReluSquared {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        for_rows([(y, 1)], 1, |i, [y]| y[0] = positive(x[i]) * x[i]);
    }
}

impl Op for ReluSquaredBackward {
    fn info(&self) -> &'static OpInfo {
        &RELU_SQUARED_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("dy", inputs[1], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(SHADER).constant("BACKWARD", 1);
        let bindings = [("x", In(0)), ("factor", In(1)), ("out", Out(0))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 3 * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl Twin for ReluSquaredBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, dy) = (io.input(0), io.input(1));
        let [dx] = io.outputs();
        for_rows([(dx, 1)], 1, |i, [dx]| dx[0] = F::of(2.0) * positive(x[i]) * dy[i]);
    }
}

fn positive<F: Real>(x: F) -> F {
    if x > F::ZERO { x } else { F::ZERO }
}

// 7. The cases: one element, around the edge of a workgroup, a prime, more workgroups than a folded grid is
//    wide; small and large values. One product is rounded; doubling is exact.
const LENGTHS: [(usize, f32); 5] = [(1, 1.0), (255, 6.0), (257, 1e4), (2309, 1.0), (1409, 6.0)];

pub fn cases() -> Vec<Case> {
    LENGTHS
        .map(|(n, largest)| {
            Case::new(ReluSquared, &[Spec::f32([n])], Bound::ROUNDED).with(0, Fill::Uniform(largest))
        })
        .into()
}

pub fn backward_cases() -> Vec<Case> {
    LENGTHS
        .map(|(n, largest)| {
            Case::new(ReluSquaredBackward, &[Spec::f32([n]); 2], Bound::ROUNDED)
                .with(0, Fill::Uniform(largest))
        })
        .into()
}
