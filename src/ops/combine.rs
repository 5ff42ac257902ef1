//! combine: y = a x + b z with fixed a and b: residual sums, LoRA's scale, momentum.

use crate::ops::prelude::*;

pub static COMBINE: OpInfo = OpInfo { name: "combine", formula: "y = a x + b z", cases };

/// (x (…), [z (…)]) → y (…) = a x + b z, or a x alone.
#[derive(Clone, Copy, Debug)]
pub struct Combine {
    pub a: f32,
    /// `None` without a z.
    pub b: Option<f32>,
    /// y overwrites x; there must be a z.
    pub in_place: bool,
}

impl Combine {
    /// x + z, which both stay as they are.
    pub const SUM: Self = Self { a: 1.0, b: Some(1.0), in_place: false };

    /// a x.
    pub fn scale(a: f32) -> Self {
        Self { a, b: None, in_place: false }
    }
}

impl Elementwise for Combine {
    fn entry(&self) -> &'static OpInfo {
        &COMBINE
    }

    fn declare(&self) -> Declaration {
        let declaration = Declaration::new(shader!("combine"))
            .constant("IN_PLACE", self.in_place.into())
            .param("a", self.a)
            .param("b", self.b.unwrap_or(0.0))
            .flops(if self.b.is_some() { 3 } else { 1 });
        let declaration = if self.in_place {
            declaration.updates(["y"]).unread("x", 1)
        } else {
            declaration.reads(["x"]).writes(["y"])
        };
        declaration.optional("z", "SECOND", self.b.is_some())
    }

    fn check(&self) -> Result<(), OpError> {
        if self.in_place && self.b.is_none() {
            return Err(OpError::new("y cannot overwrite x without a z"));
        }
        Ok(())
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        let (a, b) = (F::of(self.a.into()), F::of(self.b.unwrap_or(0.0).into()));
        match (self.in_place, self.b) {
            (true, _) => each(io, [1], |[z], [y]| [a * y + b * z]),
            (false, Some(_)) => each(io, [0, 1], |[x, z], _| [a * x + b * z]),
            (false, None) => each(io, [0], |[x], _| [a * x]),
        }
    }

    fn derivative(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dy = at.upstream(0)?;
        let mut share = |i: usize, scale: f32| -> Result<Option<Var>, OpError> {
            Ok(Some(match at.so_far[i] {
                _ if !at.wanted[i] => return Ok(None),
                Some(sum) => record_one(tape, Self { a: 1.0, b: Some(scale), in_place: true }, &[sum, dy])?,
                None if scale == 1.0 => dy,
                None => record_one(tape, Self::scale(scale), &[dy])?,
            }))
        };
        [Some(self.a), self.b].into_iter().flatten().enumerate().map(|(i, scale)| share(i, scale)).collect()
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
            cases.push(Case::new(Combine { a, b: Some(b), in_place }, &[Spec::f32(shape); 2], bound));
        }
        let scale = Case::new(Combine::scale(3.4445), &[Spec::f32(shape)], Bound::new(2.0, 0.0));
        cases.push(scale.with(0, Fill::Uniform(1e4)));
    }
    cases
}
