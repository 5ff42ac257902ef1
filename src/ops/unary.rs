//! y = f(x), element by element, and its derivative dx = dy f'(x): what an activation function declares.

use std::fmt::Debug;

use super::elementwise::{Declaration, Elementwise, each};
use crate::engine::dispatch::Shader;
use crate::engine::op::{Applied, OpError, OpInfo, Record, Var, record_gradients};
use crate::engine::real::Real;
use crate::engine::twin::Io;

/// A function of one number with its slope. Implementing it makes it an op, whose derivative is [`Backward`] of it.
pub trait Unary: Clone + Debug + Send + Sync + 'static {
    /// The registry's entries of the function and of its derivative, the latter named by the shader's file and
    /// `_backward`.
    fn entries() -> [&'static OpInfo; 2];

    /// A file that declares `fn value(x: f32) -> f32` and `fn slope(x: f32) -> f32`.
    fn shader() -> Shader;

    /// Values for `const` lines of the shader.
    fn constants(&self) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    /// Floating-point operations of the value, and of the slope times dy.
    fn flops() -> [u64; 2];

    /// f(x).
    fn value<F: Real>(&self, x: F) -> F;

    /// f'(x).
    fn slope<F: Real>(&self, x: F) -> F;
}

/// (x, dy) → dx = dy f'(x).
#[derive(Clone, Debug)]
pub struct Backward<U>(pub U);

fn declare<U: Unary>(function: &U, shader: Shader, flops: u64) -> Declaration {
    let constants = function.constants();
    constants.iter().fold(Declaration::new(shader), |d, &(name, value)| d.constant(name, value)).flops(flops)
}

impl<U: Unary> Elementwise for U {
    fn entry(&self) -> &'static OpInfo {
        U::entries()[0]
    }

    fn declare(&self) -> Declaration {
        declare(self, U::shader().unary(), U::flops()[0]).reads(["x"]).writes(["y"])
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0],
            #[inline(always)]
            |[x], _| [self.value(x)],
        );
    }

    fn derivative(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        record_gradients(tape, Backward(self.clone()), &[at.inputs[0], at.upstream(0)?])
    }
}

impl<U: Unary> Elementwise for Backward<U> {
    fn entry(&self) -> &'static OpInfo {
        U::entries()[1]
    }

    fn declare(&self) -> Declaration {
        let shader = U::shader().unary_backward(U::entries()[1].name);
        declare(&self.0, shader, U::flops()[1]).reads(["x", "dy"]).writes(["dx"])
    }

    fn compute<F: Real>(&self, io: &mut Io<F>) {
        each(
            io,
            [0, 1],
            #[inline(always)]
            |[x, dy], _| [dy * self.0.slope(x)],
        );
    }
}
