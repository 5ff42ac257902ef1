//! dropout: y = x · mask / (1 - p) (Srivastava et al. 2014), the mask a hash of seed, op and index.

use crate::engine::case::{Bound, Case};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::hash::{hash, keep, mask_key, threshold};
use crate::engine::op::{Applied, Op, OpError, OpInfo, Record, Twin, Var, expect_operands, record_one};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static DROPOUT: OpInfo = OpInfo { name: "dropout", formula: "y = x · keep / (1 - p)", cases };

/// Zeroes each element with probability `p` and scales the rest. Its derivative is the same mask again, so
/// nothing is kept from the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub p: f32,
    /// Tells the masks of one step apart.
    pub salt: u32,
}

impl Op for Dropout {
    fn info(&self) -> &'static OpInfo {
        &DROPOUT
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(OpError::new(format!("p = {} is not a probability below 1", self.p)));
        }
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("dropout", "hash", "step"))
            .param("salt", self.salt)
            .param("threshold", threshold(self.p))
            .param("scale", 1.0 / (1.0 - self.p));
        elementwise(&dispatch, &[("x", In(0)), ("y", Out(0))], operands.out_shape(0).len(), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![Some(record_one(tape, *self, &[at.upstream(0)?])?)])
    }
}

impl Twin for Dropout {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, width, key) = (io.input(0), io.out_shape(0).width(), mask_key(io.step().seed, self.salt));
        let (threshold, scale) = (threshold(self.p), F::of(f64::from(1.0 / (1.0 - self.p))));
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            width,
            #[inline(always)]
            |row, [y]| {
                for (j, y) in y.iter_mut().enumerate() {
                    let i = row * width + j;
                    *y = if keep(key, i as u32, threshold) { x[i] * scale } else { F::ZERO };
                }
            },
        );
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
