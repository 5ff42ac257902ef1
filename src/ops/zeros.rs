//! zeros: a tensor of zeros, for gradients that are added to.

use crate::ops::prelude::*;

pub static ZEROS: OpInfo = OpInfo { name: "zeros", formula: "y = 0", cases };

/// A tensor of zeros of this shape.
#[derive(Debug)]
pub struct Zeros(pub Shape);

impl Elementwise for Zeros {
    fn entry(&self) -> &'static OpInfo {
        &ZEROS
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("zeros")).writes(["y"]).shape(self.0)
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let [y] = io.outputs();
        y.fill(F::ZERO);
    }
}

fn cases() -> Vec<Case> {
    [1, 257, 1409].map(|n| Case::new(Zeros([n].into()), &[], Bound::EXACT)).into()
}
