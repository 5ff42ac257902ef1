//! What a probe computed, checked where it is: reading a gigabyte back would take longer than the probe.

use super::probe::WORKGROUP;
use crate::ops::prelude::*;

pub static MATCHES: OpInfo =
    OpInfo { name: "matches", formula: "y = how many of x are the expected number", cases };

/// Equal elements, counted by so many threads in turn: x (…) → (THREADS).
#[derive(Debug)]
pub struct Matches {
    pub expected: f32,
}

/// Enough that none has more to count than a float holds exactly, or a rasteriser lets a loop run.
const THREADS: usize = 64 * WORKGROUP;

impl Op for Matches {
    fn info(&self) -> &'static OpInfo {
        &MATCHES
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        Ok(vec![Spec::f32([THREADS])])
    }

    fn kernels(&self, operands: &Operands, _target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("probes/matches")).bind("x", In(0)).bind("y", Out(0));
        let dispatch = dispatch.param("len", operands.in_shape(0).len()).param("threads", THREADS);
        Kernel::plain(vec![dispatch.param("expected", self.expected).grid(THREADS / WORKGROUP, 1, 1)])
    }
}

impl Twin for Matches {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        let expected = F::of(self.expected.into());
        for (thread, y) in y.iter_mut().enumerate() {
            let equal = x.iter().skip(thread).step_by(THREADS).filter(|&&x| x == expected);
            *y = F::of(equal.count() as f64);
        }
    }
}

fn cases() -> Vec<Case> {
    let case =
        |len, fill| Case::new(Matches { expected: 3.0 }, &[Spec::f32([len])], Bound::EXACT).with(0, fill);
    vec![
        case(1, Fill::Constant(3.0)),
        case(THREADS + 1009, Fill::Constant(3.0)),
        case(300, Fill::Constant(2.0)),
        Case::new(Matches { expected: 0.0 }, &[Spec::f32([700])], Bound::EXACT).with(0, Fill::Ties),
    ]
}
