//! Adding up the numbers of a workgroup: by a tree in workgroup memory, or within subgroups first.

use super::probe::{Probe, WORKGROUP};
use crate::ops::prelude::*;

pub static REDUCTION: OpInfo =
    OpInfo { name: "reduction", formula: "x ← mean(x) + 1 over a workgroup, over and over", cases };

/// x (groups, 256) → the same after so many rounds.
#[derive(Debug)]
pub struct Reduction {
    pub subgroups: bool,
    pub groups: usize,
    pub rounds: usize,
}

impl Op for Reduction {
    fn info(&self) -> &'static OpInfo {
        &REDUCTION
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect("x", inputs[0], Spec::f32([self.groups, WORKGROUP]))?;
        Ok(inputs.to_vec())
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = match self.subgroups {
            true if !target.extensions.subgroups => return Vec::new(),
            true => Dispatch::new(shader!("probes/reduction_subgroup")),
            false => Dispatch::new(shader!("probes/reduction", "reduce")),
        };
        let dispatch = dispatch.bind("x", In(0)).bind("y", Out(0)).param("rounds", self.rounds);
        let dispatch = dispatch.param("len", operands.in_shape(0).len());
        Kernel::plain(vec![dispatch.groups(self.groups, target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: (self.rounds * self.groups * WORKGROUP) as u64, bytes: operands.bytes() }
    }
}

impl Probe for Reduction {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([self.groups, WORKGROUP])]
    }

    /// Sums.
    fn work(&self) -> f64 {
        (self.groups * self.rounds) as f64
    }

    /// The mean of ones, and one more in each round.
    fn expected(&self) -> f32 {
        (1 + self.rounds) as f32
    }
}

impl Twin for Reduction {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        for_rows([(y, WORKGROUP)], self.rounds * WORKGROUP, |row, [y]| {
            y.copy_from_slice(&x[row * WORKGROUP..][..WORKGROUP]);
            for _ in 0..self.rounds {
                let mean = y.iter().copied().sum::<F>() / F::of(WORKGROUP as f64);
                y.fill(mean + F::ONE);
            }
        });
    }
}

fn cases() -> Vec<Case> {
    let case = |subgroups, groups, rounds| {
        let shape = [Spec::f32([groups, WORKGROUP])];
        // Each round adds 256 numbers as large as the rounds before it made them.
        let bound = Bound::new(4.0 * rounds as f64 * (WORKGROUP as f64).sqrt(), 4.0 * WORKGROUP as f64);
        Case::new(Reduction { subgroups, groups, rounds }, &shape, bound)
    };
    vec![case(false, 1, 1), case(false, 3, 3), case(true, 1, 1), case(true, 3, 3)]
}
