//! Reading workgroup memory: in order, with bank conflicts, in vectors, in vectors that two threads share.

use super::probe::{Probe, WORKGROUP};
use crate::ops::prelude::*;

pub static WORKGROUP_MEMORY: OpInfo =
    OpInfo { name: "workgroup_memory", formula: "y = Σ of what a thread reads", cases };

/// What neighbouring threads read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Words so far apart: a power of two, at most 32.
    Words { stride: usize },
    /// Vectors of 128 bits.
    Vectors,
    /// Vectors of 128 bits, threads n and n^1 the same one.
    PairedVectors,
}

/// In each round 16 reads by each thread: what the memory holds, x (4096) → the sums of what was read
/// (256 groups).
#[derive(Debug)]
pub struct WorkgroupMemory {
    pub access: Access,
    pub groups: usize,
    pub rounds: usize,
}

/// Words of workgroup memory: 16 KiB, as much as every adapter has.
const WORDS: usize = 4096;
/// Reads of a round.
const READS: usize = 16;

impl WorkgroupMemory {
    fn threads(&self) -> usize {
        self.groups * WORKGROUP
    }

    /// Words of one read.
    fn width(&self) -> usize {
        if matches!(self.access, Access::Words { .. }) { 1 } else { 4 }
    }

    /// The first word of a thread's read number `read` of a round.
    fn word(&self, local: usize, round: usize, read: usize) -> usize {
        match self.access {
            Access::Words { stride } => local * stride % 2048 + round % 128 + 128 * read,
            Access::Vectors => 4 * (local + round % 32 + 48 * read),
            Access::PairedVectors => 4 * (local / 2 + round % 32 + 48 * read),
        }
    }
}

impl Op for WorkgroupMemory {
    fn info(&self) -> &'static OpInfo {
        &WORKGROUP_MEMORY
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect_vector("x", inputs[0], WORDS)?;
        Ok(vec![Spec::f32([self.threads()])])
    }

    fn kernels(&self, _operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = match self.access {
            Access::Words { stride } => {
                Dispatch::new(shader!("probes/workgroup_words")).constant("STRIDE", stride as u32)
            }
            access => Dispatch::new(shader!("probes/workgroup_vectors"))
                .constant("PAIRED", (access == Access::PairedVectors).into()),
        };
        let dispatch = dispatch.bind("x", In(0)).bind("y", Out(0));
        let dispatch = dispatch.param("threads", self.threads()).param("rounds", self.rounds);
        Kernel::plain(vec![dispatch.groups(self.groups, target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: self.work() as u64 / 4, bytes: operands.bytes() }
    }
}

impl Probe for WorkgroupMemory {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([WORDS])]
    }

    /// Bytes that reach threads.
    fn work(&self) -> f64 {
        (4 * self.width() * READS * self.rounds * self.threads()) as f64
    }

    /// A one for each word that a thread reads.
    fn expected(&self) -> f32 {
        (self.width() * READS * self.rounds) as f32
    }
}

impl Twin for WorkgroupMemory {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        for_rows([(y, 1)], READS * self.rounds, |thread, [y]| {
            let local = thread % WORKGROUP;
            let reads = (0..self.rounds).flat_map(|round| (0..READS).map(move |read| (round, read)));
            let sum =
                |(round, read)| x[self.word(local, round, read)..][..self.width()].iter().copied().sum();
            y[0] = reads.map(sum).sum();
        });
    }
}

fn cases() -> Vec<Case> {
    let case = |access, groups, rounds| {
        let op = WorkgroupMemory { access, groups, rounds };
        let bound = Bound::sum(op.width() * READS * rounds, 1.0);
        Case::new(op, &[Spec::f32([WORDS])], bound)
    };
    let mut cases: Vec<_> = [1, 2, 8, 32].map(|stride| case(Access::Words { stride }, 1, 3)).into();
    cases.push(case(Access::Vectors, 2, 3));
    cases.push(case(Access::PairedVectors, 3, 2));
    // All that a round moves on by, up to the last word.
    cases.push(case(Access::Words { stride: 8 }, 1, 128));
    cases.push(case(Access::Vectors, 1, 32));
    cases
}
