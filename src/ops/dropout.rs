//! dropout: y = x · mask / (1 - p) (Srivastava et al. 2014), the mask a hash of seed, op and index.

use crate::engine::hash::{hash, keep, mask_key, threshold};
use crate::ops::elementwise::each_numbered;
use crate::ops::prelude::*;

pub static DROPOUT: OpInfo = OpInfo { name: "dropout", formula: "y = x · keep / (1 - p)", cases };

/// Zeroes each element with probability `p` and scales the rest. Its derivative is the same mask again, so
/// nothing is kept from the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub p: f32,
    /// Makes the masks of one step differ.
    pub salt: u32,
}

impl Dropout {
    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }
}

impl Elementwise for Dropout {
    fn entry(&self) -> &'static OpInfo {
        &DROPOUT
    }

    fn declare(&self) -> Declaration {
        Declaration::new(shader!("dropout", "hash", "step"))
            .reads(["x"])
            .writes(["y"])
            .numbered()
            .param("salt", self.salt)
            .param("threshold", threshold(self.p))
            .param("scale", self.scale())
    }

    fn check(&self) -> Result<(), OpError> {
        if (0.0..1.0).contains(&self.p) {
            return Ok(());
        }
        Err(OpError::new(format!("p = {} is not a probability below 1", self.p)))
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let (key, threshold) = (mask_key(io.step().seed, self.salt), threshold(self.p));
        let scale = F::of(self.scale().into());
        each_numbered(
            io,
            [0],
            #[inline(always)]
            |i, [x], _| [if keep(key, i as u32, threshold) { x * scale } else { F::ZERO }],
        );
    }

    fn derivative(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        record_gradients(tape, *self, &[at.upstream(0)?])
    }
}

fn cases() -> Vec<Case> {
    let case = |shape: [usize; 2], p| Case::new(Dropout { p, salt: 3 }, &[Spec::f32(shape)], Bound::ROUNDED);
    let mut cases: Vec<_> = [([1, 1], 0.5), ([3, 65], 0.2), ([7, 129], 0.0), ([5, 1009], 0.9)]
        .map(|(shape, p)| case(shape, p))
        .into();
    // A threshold that is the hash of an element, which is kept. Those that 24 bits hold are such a p.
    let key = mask_key(cases[0].step.seed, 3);
    let hashes = (0..1009).map(|i| hash(i ^ key));
    let exact = hashes.filter(|hash| hash % 256 == 0).map(|hash| hash as f32 / 4_294_967_296.0);
    cases.extend(exact.take(1).map(|p| case([1, 1009], p)));
    cases
}
