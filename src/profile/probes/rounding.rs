//! Whether a multiply-add is rounded once or twice: decided by its results, not by its speed.

use crate::ops::prelude::*;

pub static ROUNDING: OpInfo = OpInfo { name: "rounding", formula: "y = a b + c", cases };

/// a, b, c (n) → y (n).
#[derive(Debug)]
pub struct Rounding {
    /// Written `fma(a, b, c)`, else `a * b + c`.
    pub fma: bool,
}

/// (1 + ε)² - (1 + 2ε) is ε², and the others are -ε²/2 and 2ε²: half a unit of the product or less, which has lost it
/// if it was rounded to f32. The last is the same both ways.
const VALUES: [[f32; 3]; 4] = [
    [1.0 + EPSILON, 1.0 + EPSILON, -1.0 - 2.0 * EPSILON],
    [1.0 + EPSILON, 1.0 - EPSILON / 2.0, -1.0 - EPSILON / 2.0],
    [3.0 + 2.0 * EPSILON, 1.0 + EPSILON, -3.0 - 5.0 * EPSILON],
    [1.5, 2.0, -1.0],
];
const EPSILON: f32 = 1.0 / 4096.0;

impl Rounding {
    /// Operands on which the two ways differ: a, b and c.
    pub fn operands() -> [Vec<f32>; 3] {
        [0, 1, 2].map(|i| VALUES.iter().map(|values| values[i]).collect())
    }

    /// Whether these results for [`operands`](Self::operands) were rounded once; `None` where they are those of neither
    /// way.
    pub fn is_fused(y: &[f32]) -> Option<bool> {
        let is = |of: fn(&[f32; 3]) -> f32| VALUES.iter().map(of).eq(y.iter().copied());
        match () {
            () if is(|[a, b, c]| a.mul_add(*b, *c)) => Some(true),
            () if is(|[a, b, c]| a * b + c) => Some(false),
            () => None,
        }
    }
}

impl Op for Rounding {
    fn info(&self) -> &'static OpInfo {
        &ROUNDING
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        expect("b", inputs[1], inputs[0])?;
        expect("c", inputs[2], inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let len = operands.in_shape(0).len();
        let dispatch = Dispatch::new(shader!("probes/rounding")).constant("FMA", self.fma.into());
        let dispatch = dispatch.bind("a", In(0)).bind("b", In(1)).bind("c", In(2)).bind("y", Out(0));
        Kernel::plain(vec![dispatch.param("len", len).groups(len.div_ceil(64), target)])
    }
}

impl Twin for Rounding {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (a, b, c) = (io.input(0), io.input(1), io.input(2));
        let [y] = io.outputs();
        for (i, y) in y.iter_mut().enumerate() {
            *y = if self.fma { a[i].fma(b[i], c[i]) } else { a[i] * b[i] + c[i] };
        }
    }
}

/// Product and sum are rounded, each to at most 2 units.
fn cases() -> Vec<Case> {
    let case = |fma, n| Case::new(Rounding { fma }, &[Spec::f32([n]); 3], Bound::new(2.0, 2.0));
    vec![case(true, 1), case(false, 67)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_of_rounding_are_told_apart() {
        let results = |way: fn(f32, f32, f32) -> f32| {
            let [a, b, c] = Rounding::operands();
            (0..a.len()).map(|i| way(a[i], b[i], c[i])).collect::<Vec<_>>()
        };
        let (once, twice) = (results(f32::mul_add), results(|a, b, c| a * b + c));
        // By hand, with ε² = 2⁻²⁴.
        assert_eq!(once, [2f32.powi(-24), -(2f32.powi(-25)), 2f32.powi(-23), 2.0]);
        assert_eq!(twice, [0.0, 0.0, 0.0, 2.0]);
        assert_eq!(Rounding::is_fused(&once), Some(true));
        assert_eq!(Rounding::is_fused(&twice), Some(false));
        assert_eq!(Rounding::is_fused(&[0.0; 4]), None);
        assert_eq!(Rounding::is_fused(&[]), None);
    }
}
