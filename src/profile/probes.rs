//! The two ops whose speeds are the roofline: a copy, all that memory can do, and multiply-adds in registers,
//! all that arithmetic can do. They are no part of a model, so the registry does not list them.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Shader, Target};
use crate::engine::op::{Cost, Op, OpError, OpInfo, Twin, expect_operands};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static COPY: OpInfo = OpInfo { name: "copy", formula: "y = x", cases: copy_cases };
pub static FMA: OpInfo = OpInfo { name: "fma", formula: "x ← ½ x + ½, over and over", cases: fma_cases };

/// Both, for the tests that walk the registry.
pub static PROBES: [&OpInfo; 2] = [&COPY, &FMA];

/// y = x; the length is a multiple of 4.
#[derive(Debug)]
pub struct Copy;

/// x ← ½ x + ½, `ROUNDS` times, which goes to 1 and never to a denormal; the length is a multiple of 16.
#[derive(Debug)]
pub struct Fma;

/// Multiply-adds per element.
const ROUNDS: usize = 1024;
/// Elements of one invocation of the shader: its chains.
const CHAINS: usize = 16;
/// Chains of the twin that are under way at once: enough for two units of 16 lanes and 3 cycles each, few
/// enough for 16 registers of 8.
const LANES: usize = 96;
/// Elements that the twin copies at a time.
const RUN: usize = 1 << 14;

fn expect_multiple(inputs: &[Spec], of: usize) -> Result<Vec<Spec>, OpError> {
    expect_operands(inputs, 1, 1)?;
    let len = inputs[0].shape.len();
    match len.is_multiple_of(of) {
        true => Ok(inputs.to_vec()),
        false => Err(OpError::new(format!("x has {len} elements, which is no multiple of {of}"))),
    }
}

fn kernels(shader: Shader, elements: usize, operands: &Operands, target: &Target) -> Vec<Kernel> {
    let len = operands.in_shape(0).len();
    let dispatch = Dispatch::new(shader).bind("x", In(0)).bind("y", Out(0)).param("quads", len / 4);
    Kernel::plain(vec![dispatch.groups(len.div_ceil(64 * elements), target)])
}

impl Op for Copy {
    fn info(&self) -> &'static OpInfo {
        &COPY
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_multiple(inputs, 4)
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        kernels(shader!("roofline/copy"), 4, operands, target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 0, bytes: operands.bytes() }
    }
}

impl Twin for Copy {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        let (whole, rest) = y.split_at_mut(x.len() / RUN * RUN);
        let (from, rest_from) = x.split_at(whole.len());
        for_rows([(whole, RUN)], RUN, |i, [y]| y.copy_from_slice(&from[i * RUN..][..RUN]));
        rest.copy_from_slice(rest_from);
    }
}

impl Op for Fma {
    fn info(&self) -> &'static OpInfo {
        &FMA
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_multiple(inputs, CHAINS)
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        kernels(shader!("roofline/fma"), CHAINS, operands, target)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: (2 * ROUNDS * operands.in_shape(0).len()) as u64, bytes: operands.bytes() }
    }
}

impl Twin for Fma {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        y.copy_from_slice(x);
        let (whole, rest) = y.split_at_mut(x.len() / LANES * LANES);
        for_rows([(whole, LANES)], LANES * ROUNDS, |_, [y]| rounds::<F, LANES>(y));
        for_rows([(rest, CHAINS)], CHAINS * ROUNDS, |_, [y]| rounds::<F, CHAINS>(y));
    }
}

#[inline(always)]
fn rounds<F: Real, const N: usize>(y: &mut [F]) {
    let half = F::of(0.5);
    let mut chains = [F::ZERO; N];
    chains.copy_from_slice(y);
    for _ in 0..ROUNDS {
        for x in &mut chains {
            *x = x.fma(half, half);
        }
    }
    y.copy_from_slice(&chains);
}

fn copy_cases() -> Vec<Case> {
    [4, 260, 40_000].map(|len| Case::new(Copy, &[Spec::f32([len])], Bound::EXACT)).into()
}

/// One rounding of each step is halved by the next: less than two units remain.
fn fma_cases() -> Vec<Case> {
    [16, 1040, 9600].map(|len| Case::new(Fma, &[Spec::f32([len])], Bound::new(2.0, 0.0))).into()
}
