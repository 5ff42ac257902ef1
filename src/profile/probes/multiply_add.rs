//! Multiply-adds in registers: all that arithmetic can do.

use std::hint::black_box;

use super::probe::{Probe, WORKGROUP};
use crate::ops::prelude::*;

pub static MULTIPLY_ADD: OpInfo =
    OpInfo { name: "multiply_add", formula: "x ← x·a + b, over and over, with a = b = 1", cases };

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `fma(x, a, b)`
    Fma,
    /// `x * a + b`
    TwoOps,
    /// `fma(x, a, b)` in half precision
    F16,
}

/// In each of so many threads 16 chains of x ← x·a + b, from x, x + 1, … on: x (threads) → the sums of their ends
/// (threads). Exact for small whole numbers.
#[derive(Debug)]
pub struct MultiplyAdd {
    pub form: Form,
    pub threads: usize,
    /// Multiply-adds of a chain: a multiple of 8.
    pub rounds: usize,
}

/// Rounds that hide what is around them, with results that f16 still holds exactly.
pub const ROUNDS: usize = 1024;
/// Chains of a thread.
const CHAINS: usize = 16;
/// Threads whose chains the twin has under way at once: enough for two units of 16 lanes and 3 cycles each, few enough
/// for 16 registers of 8.
const ABREAST: usize = 6;

impl Op for MultiplyAdd {
    fn info(&self) -> &'static OpInfo {
        &MULTIPLY_ADD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect_vector("x", inputs[0], self.threads)?;
        Ok(inputs.to_vec())
    }

    fn kernels(&self, _operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = match self.form {
            Form::F16 if !target.extensions.f16 => return Vec::new(),
            Form::F16 => Dispatch::new(shader!("probes/multiply_add_f16")),
            form => Dispatch::new(shader!("probes/multiply_add")).constant("FMA", (form == Form::Fma).into()),
        };
        let dispatch = dispatch.constant("ROUNDS", self.rounds as u32).bind("x", In(0)).bind("y", Out(0));
        let dispatch = dispatch.param("len", self.threads).param("a", 1.0f32).param("b", 1.0f32);
        Kernel::plain(vec![dispatch.groups(self.threads.div_ceil(WORKGROUP), target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 2 * (self.threads * CHAINS * self.rounds) as u64, bytes: operands.bytes() }
    }
}

impl Probe for MultiplyAdd {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([self.threads])]
    }

    /// Multiply-adds.
    fn work(&self) -> f64 {
        (self.threads * CHAINS * self.rounds) as f64
    }

    /// The sum of 1 + j + rounds over the chains j.
    fn expected(&self) -> f32 {
        (CHAINS * (1 + self.rounds) + CHAINS * (CHAINS - 1) / 2) as f32
    }
}

impl Twin for MultiplyAdd {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        // The compiler is not to know them.
        let (a, b) = (black_box(F::ONE), black_box(F::ONE));
        let (rounds, work) = (self.rounds, ABREAST * CHAINS * self.rounds);
        let rows = [(y, ABREAST)];
        // Inlined, so that all of it is compiled for the processor at hand.
        match self.form {
            Form::TwoOps => for_rows(
                rows,
                work,
                #[inline(always)]
                |row, [y]| run(y, &x[ABREAST * row..], rounds, |x| x * a + b),
            ),
            Form::Fma | Form::F16 => for_rows(
                rows,
                work,
                #[inline(always)]
                |row, [y]| run(y, &x[ABREAST * row..], rounds, |x| x.fma(a, b)),
            ),
        }
    }
}

/// The chains of a few threads.
#[inline(always)]
fn run<F: Real>(y: &mut [F], x: &[F], rounds: usize, once: impl Fn(F) -> F) {
    let mut ends = [F::ZERO; ABREAST * CHAINS];
    for (ends, x) in ends.chunks_exact_mut(CHAINS).zip(x) {
        ends.iter_mut().enumerate().for_each(|(j, end)| *end = *x + F::of(j as f64));
    }
    // A copy that stays in registers: nothing there has an index that is not known.
    let mut chains = [F::ZERO; ABREAST * CHAINS];
    chains.copy_from_slice(&ends);
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = once(*chain);
        }
    }
    ends.copy_from_slice(&chains);
    for (y, ends) in y.iter_mut().zip(ends.chunks_exact(CHAINS)) {
        *y = ends.iter().copied().sum();
    }
}

fn cases() -> Vec<Case> {
    let case = |form, threads, rounds, x| {
        Case::new(MultiplyAdd { form, threads, rounds }, &[Spec::f32([threads])], Bound::EXACT)
            .with(0, Fill::Constant(x))
    };
    vec![
        case(Form::Fma, 1, ROUNDS, 1.0),
        case(Form::Fma, 261, 16, -7.0),
        case(Form::TwoOps, 13, ROUNDS, 3.0),
        case(Form::F16, 259, ROUNDS, 5.0),
    ]
}
