//! Reading and copying storage memory: all that memory can do.

use super::probe::{Probe, WORKGROUP};
use crate::ops::prelude::*;

pub static COPY: OpInfo = OpInfo { name: "copy", formula: "y = x", cases: copy_cases };
pub static READ: OpInfo =
    OpInfo { name: "read", formula: "y = Σ x of each thread's part", cases: read_cases };

/// How threads go through a power of two of numbers: in steps of 4 vectors of 4 numbers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    len: usize,
    threads: usize,
    steps: usize,
}

/// Numbers that a thread touches in one step.
const STEP: usize = 16;

/// By how many vectors threads move on where all of them together touch everything at once, so that none meets the same
/// vector again soon: an odd number of workgroups'.
const SHIFT: usize = 37 * WORKGROUP;

/// Numbers that the twin of the copy handles at a time.
const RUN: usize = 1 << 14;

impl Walk {
    /// Through `len` numbers at least `passes` times. `threads` is a power of two too, no fewer than a workgroup has.
    pub fn new(len: usize, threads: usize, passes: usize) -> Self {
        Self { len, threads, steps: (passes * len).div_ceil(threads * STEP) }
    }

    /// Through `len` numbers once, with as many threads as need only one step each.
    pub fn once(len: usize) -> Self {
        Self::new(len, (len / STEP).max(WORKGROUP), 1)
    }

    /// Vectors between a thread's one and its next.
    fn advance(self) -> usize {
        if self.threads < self.len / 4 { self.threads } else { SHIFT }
    }

    /// Numbers touched, those that are touched again among them.
    fn touched(self) -> usize {
        self.threads * self.steps * STEP
    }

    fn expect(self, inputs: &[Spec]) -> Result<(), OpError> {
        expect_operands(inputs, 1, 1)?;
        expect_vector("x", inputs[0], self.len)?;
        match self.len.is_power_of_two() && self.len >= 4 {
            true => Ok(()),
            false => {
                Err(OpError::new(format!("x has {} elements, which is no power of two from 4 on", self.len)))
            }
        }
    }

    fn kernels(self, shader: Shader, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader).bind("x", In(0)).bind("y", Out(0));
        let dispatch = dispatch.param("mask", self.len / 4 - 1).param("advance", self.advance());
        let dispatch = dispatch.param("threads", self.threads).param("steps", self.steps);
        Kernel::plain(vec![dispatch.groups(self.threads.div_ceil(WORKGROUP), target)])
    }
}

/// y = x, perhaps several times over.
#[derive(Debug)]
pub struct Copy(pub Walk);

/// The sum of each thread's part: x (len) → y (threads).
#[derive(Debug)]
pub struct Read(pub Walk);

impl Op for Copy {
    fn info(&self) -> &'static OpInfo {
        &COPY
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        self.0.expect(inputs)?;
        Ok(inputs.to_vec())
    }

    fn kernels(&self, _operands: &Operands, target: &Target) -> Vec<Kernel> {
        self.0.kernels(shader!("probes/copy"), target)
    }

    fn cost(&self, _operands: &Operands) -> Cost {
        Cost { flops: 0, bytes: 8 * self.0.touched() as u64 }
    }
}

impl Probe for Copy {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([self.0.len])]
    }

    /// Bytes read and written.
    fn work(&self) -> f64 {
        8.0 * self.0.touched() as f64
    }

    /// Memory begins with zeros, so that a one was copied.
    fn expected(&self) -> f32 {
        1.0
    }
}

impl Twin for Copy {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        for _ in 0..self.0.touched() / self.0.len.min(self.0.touched()) {
            for_rows([(&mut *y, RUN)], RUN, |i, [y]| y.copy_from_slice(&x[i * RUN..][..y.len()]));
        }
    }
}

impl Op for Read {
    fn info(&self) -> &'static OpInfo {
        &READ
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        self.0.expect(inputs)?;
        Ok(vec![Spec::f32([self.0.threads])])
    }

    fn kernels(&self, _operands: &Operands, target: &Target) -> Vec<Kernel> {
        self.0.kernels(shader!("probes/read"), target)
    }

    fn cost(&self, _operands: &Operands) -> Cost {
        let touched = self.0.touched() as u64;
        Cost { flops: touched, bytes: 4 * touched }
    }
}

impl Probe for Read {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([self.0.len])]
    }

    /// Bytes read.
    fn work(&self) -> f64 {
        4.0 * self.0.touched() as f64
    }

    /// A one for each number that a thread reads.
    fn expected(&self) -> f32 {
        (STEP * self.0.steps) as f32
    }
}

impl Twin for Read {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        let Walk { len, steps, .. } = self.0;
        for_rows([(y, WORKGROUP)], WORKGROUP * STEP * steps, |row, [y]| {
            y.fill(F::ZERO);
            for turn in 0..4 * steps {
                let first = (4 * (row * WORKGROUP + turn * self.0.advance())) & (len - 1);
                // A workgroup's vectors lie side by side, but where it goes round.
                match x.get(first..first + 4 * y.len()) {
                    Some(part) => {
                        for (y, x) in y.iter_mut().zip(part.chunks_exact(4)) {
                            *y += (x[0] + x[1]) + (x[2] + x[3]);
                        }
                    }
                    None => {
                        for (i, y) in y.iter_mut().enumerate() {
                            let at = (first + 4 * i) & (len - 1);
                            *y += (x[at] + x[at + 1]) + (x[at + 2] + x[at + 3]);
                        }
                    }
                }
            }
        });
    }
}

/// One vector for all threads; as many vectors as threads; more; several times round.
const WALKS: [Walk; 4] = [
    Walk { len: 4, threads: 256, steps: 1 },
    Walk { len: 1 << 10, threads: 256, steps: 3 },
    Walk { len: 1 << 13, threads: 512, steps: 1 },
    Walk { len: 1 << 13, threads: 256, steps: 5 },
];

fn copy_cases() -> Vec<Case> {
    WALKS.map(|walk| Case::new(Copy(walk), &[Spec::f32([walk.len])], Bound::EXACT)).into()
}

fn read_cases() -> Vec<Case> {
    WALKS
        .map(|walk| {
            let bound = Bound::sum(STEP * walk.steps, 1.0);
            Case::new(Read(walk), &[Spec::f32([walk.len])], bound)
        })
        .into()
}
