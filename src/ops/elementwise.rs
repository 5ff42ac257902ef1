//! Elementwise ops: element i of every result comes from element i of the operands.
//!
//! Such an op declares its operands and results under the names of its shader's bindings. Contract, bindings, grid and
//! cost follow from that. Its twin is a closure for [`each`], its kernel a `fn each_element(i: u32)` in WGSL.

use std::fmt::Debug;

use crate::engine::dispatch::{Dispatch, In, Kernel, Operand, Operands, Out, Scalar, Shader, Target};
use crate::engine::op::{
    Applied, Cost, Joins, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands,
};
use crate::engine::real::Real;
use crate::engine::rows::for_rows;
use crate::engine::tensor::{Shape, Spec};
use crate::engine::twin::Io;

/// An elementwise op. Implementing it implements [`Op`] and [`Twin`].
pub trait Elementwise: Debug + Send + Sync + 'static {
    /// As [`Op::info`].
    fn entry(&self) -> &'static OpInfo;

    /// Its shader, operands, results and cost.
    fn declare(&self) -> Declaration;

    /// Refuses settings that make no sense.
    fn check(&self) -> Result<(), OpError> {
        Ok(())
    }

    /// As [`Twin::twin`], mostly by [`each`].
    fn compute<F: Real>(&self, io: &mut Io<F>);

    /// As [`Op::vjp`].
    fn derivative(&self, _tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![None; at.inputs.len()])
    }
}

/// The operands and results of an elementwise op, in order, each under the name of its binding. All have the shape of
/// the first operand, but for [scalars](Self::scalar).
#[derive(Debug)]
pub struct Declaration {
    dispatch: Dispatch,
    /// Names, and whether it is a scalar.
    operands: Vec<(&'static str, bool)>,
    results: usize,
    /// (result, the operand that it overwrites).
    in_place: Vec<(usize, usize)>,
    /// What is bound in parts where a tensor is larger than a binding.
    bindings: Vec<(&'static str, Operand)>,
    shape: Option<Shape>,
    numbered: bool,
    flops: u64,
}

impl Declaration {
    pub fn new(shader: Shader) -> Self {
        Self {
            dispatch: Dispatch::new(shader),
            operands: Vec::new(),
            results: 0,
            in_place: Vec::new(),
            bindings: Vec::new(),
            shape: None,
            numbered: false,
            flops: 1,
        }
    }

    /// Operands that are read.
    pub fn reads<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        for name in names {
            self.bindings.push((name, In(self.operands.len())));
            self.operands.push((name, false));
        }
        self
    }

    /// Results.
    pub fn writes<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        for name in names {
            self.bindings.push((name, Out(self.results)));
            self.results += 1;
        }
        self
    }

    /// Operands that a result of the same name overwrites.
    pub fn updates<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        for name in names {
            self.in_place.push((self.results, self.operands.len()));
            self.operands.push((name, false));
            self = self.writes([name]);
        }
        self
    }

    /// An operand (1) that every element reads.
    pub fn scalar(mut self, name: &'static str) -> Self {
        self.dispatch = self.dispatch.bind(name, In(self.operands.len()));
        self.operands.push((name, true));
        self
    }

    /// An operand that may be left out: the shader's `const` of that name says whether it is there. If it is not, the
    /// shader must not read it.
    pub fn optional(self, name: &'static str, constant: &'static str, given: bool) -> Self {
        let declared = self.constant(constant, given.into());
        if given { declared.reads([name]) } else { declared.unread(name, 0) }
    }

    /// Binds operand `i` to a variable that the shader does not read.
    pub fn unread(mut self, name: &'static str, i: usize) -> Self {
        self.bindings.push((name, In(i)));
        self
    }

    /// Replaces the shader's `const name: … = …;`.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.dispatch = self.dispatch.constant(name, value);
        self
    }

    pub fn param(mut self, name: &'static str, value: impl Into<Scalar>) -> Self {
        self.dispatch = self.dispatch.param(name, value);
        self
    }

    /// The shape of the results, for an op without operands.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = Some(shape);
        self
    }

    /// Gives the shader `params.first`: the number of its element 0 in the whole tensor.
    pub fn numbered(mut self) -> Self {
        self.numbered = true;
        self
    }

    /// Floating-point operations for each element; 1 if not given.
    pub fn flops(mut self, flops: u64) -> Self {
        self.flops = flops;
        self
    }
}

impl<T: Elementwise> Op for T {
    fn info(&self) -> &'static OpInfo {
        self.entry()
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let Declaration { operands, results, shape, .. } = self.declare();
        expect_operands(inputs, operands.len(), operands.len())?;
        self.check()?;
        let like = Spec::f32(shape.unwrap_or_else(|| inputs[0].shape));
        for (&(name, is_scalar), &input) in operands.iter().zip(inputs) {
            expect(name, input, if is_scalar { Spec::f32([1]) } else { like })?;
        }
        Ok(vec![like; results])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        self.declare().in_place
    }

    /// What only updates its operands does so element by element, unless it counts the elements.
    fn joins(&self) -> Joins {
        let Declaration { operands, results, in_place, numbered, .. } = self.declare();
        if numbered || results == 0 || in_place.len() < results {
            return Joins::Never;
        }
        let is_scalar = |i: &usize| operands[*i].1;
        Joins::Applications { shared: (0..operands.len()).filter(is_scalar).collect() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let Declaration { dispatch, bindings, numbered, .. } = self.declare();
        let part = |(first, len): (usize, usize)| {
            let bind = |d: Dispatch, &(name, at): &(&'static str, Operand)| d.bind_part(name, at, first, len);
            let bound = bindings.iter().fold(dispatch.clone(), bind);
            let bound = if numbered { bound.param("first", first) } else { bound };
            bound.elements(len, target)
        };
        Kernel::plain(target.row_chunks(operands.out_shape(0).len(), 1).into_iter().map(part).collect())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        self.derivative(tape, at)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: self.declare().flops * operands.out_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

impl<T: Elementwise> Twin for T {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        self.compute(io);
    }
}

/// Writes `f(x, y)` to element i of the results, where x holds element i of these operands and y what the results held
/// before: operands that they overwrite.
pub fn each<F: Real, const N: usize, const M: usize>(
    io: &mut Io<F>,
    operands: [usize; N],
    f: impl Fn([F; N], [F; M]) -> [F; M] + Sync,
) {
    each_numbered(
        io,
        operands,
        #[inline(always)]
        |_, x, y| f(x, y),
    );
}

/// As [`each`]; `f` is also given the number of the element.
pub fn each_numbered<F: Real, const N: usize, const M: usize>(
    io: &mut Io<F>,
    operands: [usize; N],
    f: impl Fn(usize, [F; N], [F; M]) -> [F; M] + Sync,
) {
    /// Elements of a row, the portion of one core.
    const ROW: usize = 1024;
    /// Elements that are brought into local arrays, which no other memory aliases: so the loop vectorises.
    const LANES: usize = 32;
    let inputs = operands.map(|i| io.input(i));
    let outputs: [&mut [F]; M] = io.outputs();
    for_rows(
        outputs.map(|out| (out, ROW)),
        ROW,
        #[inline(always)]
        |row, mut outputs| {
            for first in (0..outputs[0].len()).step_by(LANES) {
                let (at, n) = (row * ROW + first, LANES.min(outputs[0].len() - first));
                let (mut x, mut y) = ([[F::ZERO; LANES]; N], [[F::ZERO; LANES]; M]);
                x.iter_mut().zip(inputs).for_each(|(x, input)| x[..n].copy_from_slice(&input[at..][..n]));
                y.iter_mut().zip(&outputs).for_each(|(y, out)| y[..n].copy_from_slice(&out[first..][..n]));
                for i in 0..LANES {
                    let after = f(at + i, x.each_ref().map(|x| x[i]), y.each_ref().map(|y| y[i]));
                    y.iter_mut().zip(after).for_each(|(y, after)| y[i] = after);
                }
                outputs.iter_mut().zip(y).for_each(|(out, y)| out[first..][..n].copy_from_slice(&y[..n]));
            }
        },
    );
}

/// x, or the end of `low..=high` that it is beyond.
#[inline(always)]
pub fn clamp<F: Real>(x: F, low: F, high: F) -> F {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}
