//! combine: y = a x + b z with fixed a and b: residual sums, LoRA's scale, momentum.

use crate::engine::case::{Bound, Case, Fill};
use crate::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Target, elementwise};
use crate::engine::op::{
    Applied, Cost, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands, record_one,
};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::Spec;
use crate::engine::twin::Io;
use crate::shader;

pub static COMBINE: OpInfo = OpInfo { name: "combine", formula: "y = a x + b z", cases };

/// (x (…), [z (…)]) → y (…) = a x + b z, or a x alone.
#[derive(Clone, Copy, Debug)]
pub struct Combine {
    pub a: f32,
    pub b: f32,
    /// y overwrites x; there must be a z.
    pub in_place: bool,
}

impl Combine {
    /// x + z, which both stay as they are.
    pub const SUM: Self = Self { a: 1.0, b: 1.0, in_place: false };

    /// a x.
    pub fn scale(a: f32) -> Self {
        Self { a, b: 0.0, in_place: false }
    }
}

impl Op for Combine {
    fn info(&self) -> &'static OpInfo {
        &COMBINE
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1 + usize::from(self.in_place), 2)?;
        expect("x", inputs[0], Spec::f32(inputs[0].shape))?;
        if let Some(&z) = inputs.get(1) {
            expect("z", z, inputs[0])?;
        }
        Ok(vec![inputs[0]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.in_place { vec![(0, 0)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let has_second = operands.inputs.len() > 1;
        let second = if has_second { In(1) } else { In(0) };
        let dispatch = Dispatch::new(shader!("combine"))
            .constant("SECOND", has_second.into())
            .constant("IN_PLACE", self.in_place.into())
            .param("a", self.a)
            .param("b", self.b);
        let bindings = [("x", if self.in_place { second } else { In(0) }), ("z", second), ("y", Out(0))];
        elementwise(&dispatch, &bindings, operands.out_shape(0).len(), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dy = at.upstream(0)?;
        let mut share = |i: usize, scale: f32| -> Result<Option<Var>, OpError> {
            Ok(Some(match at.so_far[i] {
                _ if !at.wanted[i] => return Ok(None),
                Some(sum) => record_one(tape, Self { a: 1.0, b: scale, in_place: true }, &[sum, dy])?,
                None if scale == 1.0 => dy,
                None => record_one(tape, Self::scale(scale), &[dy])?,
            }))
        };
        [self.a, self.b].into_iter().take(at.inputs.len()).enumerate().map(|(i, s)| share(i, s)).collect()
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let flops = (2 * operands.inputs.len() - 1) * operands.out_shape(0).len();
        Cost { flops: flops as u64, bytes: operands.bytes() }
    }
}

impl Twin for Combine {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (a, b) = (F::of(self.a.into()), F::of(self.b.into()));
        let x = (!self.in_place).then(|| io.input(0));
        let z = (io.n_inputs() > 1).then(|| io.input(1));
        let width = io.out_shape(0).width();
        let [y] = io.outputs();
        for_rows(
            [(y, width)],
            width,
            #[inline(always)]
            |row, [y]| {
                if let Some(x) = x {
                    y.copy_from_slice(&x[row * width..][..width]);
                }
                match z {
                    Some(z) => y.iter_mut().zip(&z[row * width..]).for_each(|(y, &z)| *y = a * *y + b * z),
                    None => y.iter_mut().for_each(|y| *y = a * *y),
                }
            },
        );
    }
}

/// Two rounded products of at most |a| and |b| and a rounded sum, fused or not. WGSL may round either way: by up to
/// two units.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1], [3, 21], [1, 256], [5, 13], [7, 211]] {
        for (in_place, a, b) in [(false, 1.0, 1.0), (false, -0.3, 2.25), (true, 1.0, 1.0), (true, -0.3, 2.25)]
        {
            let bound = Bound::new(2.0, 2.0 * f64::from(f32::abs(a) + f32::abs(b)));
            cases.push(Case::new(Combine { a, b, in_place }, &[Spec::f32(shape); 2], bound));
        }
        let scale = Case::new(Combine::scale(3.4445), &[Spec::f32(shape)], Bound::new(2.0, 0.0));
        cases.push(scale.with(0, Fill::Uniform(1e4)));
    }
    cases
}
