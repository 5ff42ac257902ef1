//! What the program knows about one kernel: contract, twin, derivative, dispatches, cost.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::bounded::Bounded;
use super::case::Case;
use super::dispatch::{Kernel, Operands, Target};
use super::real::Real;
use super::tensor::{Shape, Spec};
use super::twin::Io;

/// A value on a tape: the output of an op, an input, a parameter or a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) usize);

/// What the registry says about an op, whatever its parameters.
#[derive(Debug)]
pub struct OpInfo {
    /// Its name on the command line, in traces and in reports: `layer_norm`.
    pub name: &'static str,
    /// Its formula on one line.
    pub formula: &'static str,
    /// The shapes and values it is checked on.
    pub cases: fn() -> Vec<Case>,
}

/// Work of one application: what a roofline is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
    /// The fewest bytes that must cross memory: each input read once, each output written once.
    pub bytes: u64,
}

/// How work on several tensors may become work on one tensor, which holds their elements one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joins {
    Never,
    /// Several applications of the op, with these operands in common, may become one: its other operands are updated in
    /// place or only read, each element by itself.
    Applications {
        shared: Vec<usize>,
    },
    /// Some of the op's operands may be given as one.
    Operands,
}

/// An operation with its parameters fixed (heads, epsilon, …); operands come from the tape.
pub trait Op: Debug + Send + Sync + 'static {
    /// The registry's entry.
    fn info(&self) -> &'static OpInfo;

    /// The contract: output types from input types, or an error that names the operand at fault.
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError>;

    /// Outputs that overwrite an input in place, as (output, input).
    fn in_place(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// Whether outputs that stand in place of an input leave its elements as they are: both may be read.
    fn is_view(&self) -> bool {
        false
    }

    /// How work on several tensors may become work on one that holds them all.
    fn joins(&self) -> Joins {
        Joins::Never
    }

    /// The kernels that compute this op on `target`, plainest first. Without autotuning the last is used.
    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel>;

    /// Appends the ops that turn gradients of the outputs into gradients of the inputs.
    ///
    /// Returns one entry per input; `None` where there is no gradient. The default has none at all, for ops
    /// that end a graph (optimisers) or are themselves derivatives.
    fn vjp(&self, _tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![None; at.inputs.len()])
    }

    /// FLOPs and least bytes for these operands.
    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: operands.outputs[0].shape.len() as u64, bytes: operands.bytes() }
    }
}

/// The CPU twin of an op: the formula as plain loops, over f32 or f64.
pub trait Twin: Op {
    fn twin<F: Real>(&self, io: &mut Io<F>);
}

/// An op of any type, with its twin at both precisions. Implemented for every [`Twin`].
pub trait AnyOp: Op + Any {
    fn twin_f32(&self, io: &mut Io<f32>);
    fn twin_f64(&self, io: &mut Io<f64>);
    /// The f64 twin together with what an f32 kernel may be off by.
    fn twin_bounded(&self, io: &mut Io<Bounded>);
}

impl<T: Twin> AnyOp for T {
    fn twin_f32(&self, io: &mut Io<f32>) {
        self.twin(io);
    }
    fn twin_f64(&self, io: &mut Io<f64>) {
        self.twin(io);
    }
    fn twin_bounded(&self, io: &mut Io<Bounded>) {
        self.twin(io);
    }
}

/// Where derivatives are recorded: the part of the tape that ops see.
pub trait Record {
    fn spec(&self, var: Var) -> Spec;

    /// Appends an op and returns its outputs.
    fn record(&mut self, op: Arc<dyn AnyOp>, inputs: &[Var]) -> Result<Vec<Var>, OpError>;
}

/// Appends an op that has one output.
pub fn record_one(tape: &mut dyn Record, op: impl AnyOp, inputs: &[Var]) -> Result<Var, OpError> {
    Ok(tape.record(Arc::new(op), inputs)?[0])
}

/// Appends an op whose outputs are the gradients of the operands, one each.
pub fn record_gradients(
    tape: &mut dyn Record,
    op: impl AnyOp,
    inputs: &[Var],
) -> Result<Vec<Option<Var>>, OpError> {
    Ok(tape.record(Arc::new(op), inputs)?.into_iter().map(Some).collect())
}

/// An op as it stands on the tape, seen from its derivative.
pub struct Applied<'a> {
    pub inputs: &'a [Var],
    pub outputs: &'a [Var],
    /// The gradient of each output; `None` where nothing downstream depends on it.
    pub upstream: &'a [Option<Var>],
    /// Which inputs need a gradient.
    pub wanted: &'a [bool],
    /// A gradient that input already has. A derivative that can add to it in place does so and returns that
    /// output; one that cannot returns its own share, and the tape adds the two.
    pub so_far: &'a [Option<Var>],
}

impl Applied<'_> {
    /// The gradient of output `i`.
    pub fn upstream(&self, i: usize) -> Result<Var, OpError> {
        self.upstream[i].ok_or_else(|| OpError::new(format!("its output {i} has no gradient")))
    }
}

/// Why operands do not fit an op; the tape adds the op's name and place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpError(String);

impl OpError {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same error, said of `place`.
    pub fn at(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

/// Checks that there are between `least` and `most` operands.
pub fn expect_operands(inputs: &[Spec], least: usize, most: usize) -> Result<(), OpError> {
    if (least..=most).contains(&inputs.len()) {
        return Ok(());
    }
    Err(OpError::new(format!("takes {least} to {most} operands, not {}", inputs.len())))
}

/// Checks that operand `name` has the type that the op needs.
pub fn expect(name: &str, got: Spec, want: Spec) -> Result<(), OpError> {
    if got == want {
        return Ok(());
    }
    Err(OpError::new(format!("operand `{name}` is {got}, but must be {want}")))
}

/// Checks the shape of a vector operand such as a bias or a norm's weight: (width).
pub fn expect_vector(name: &str, got: Spec, width: usize) -> Result<(), OpError> {
    expect(name, got, Spec::f32(Shape::from([width])))
}
