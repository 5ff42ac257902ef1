//! add: y ← y + x, in place.

use crate::ops::prelude::*;

pub static ADD: OpInfo = OpInfo { name: "add", formula: "y ← y + x", cases };

/// Adds the second operand to the first, in place.
#[derive(Debug)]
pub struct Add;

impl Elementwise for Add {
    fn entry(&self) -> &'static OpInfo {
        &ADD
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("add")).updates(["y"]).reads(["x"])
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(io, [1], |[x], [y]| [y + x]);
    }

    fn derivative(&self, _tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![at.upstream[0]; 2])
    }
}

fn cases() -> Vec<Case> {
    [1, 255, 256, 257, 1409].map(|n| Case::new(Add, &[Spec::f32([n]), Spec::f32([n])], Bound::ROUNDED)).into()
}
