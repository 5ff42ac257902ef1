//! The shapes and values that an op is checked on.

use std::sync::Arc;

use super::op::AnyOp;
use super::step::Step;
use super::tensor::{Dtype, Spec};

/// How the elements of a case's operand are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Uniform in ±the bound.
    Uniform(f32),
    /// Uniform in the range: operands that must be positive, such as second moments.
    Between(f32, f32),
    /// Every element the same.
    Constant(f32),
    /// Few distinct values, so that rows hold ties.
    Ties,
    /// Whole numbers below the bound.
    Index(u32),
    /// As [`Index`](Self::Index), but every third is `u32::MAX`: a target to ignore.
    IndexOrIgnore(u32),
}

/// One operand of a case.
#[derive(Clone, Copy, Debug)]
pub struct CaseInput {
    pub spec: Spec,
    pub fill: Fill,
    /// It is never trained, and its op has no gradient for it.
    pub fixed: bool,
}

/// One thing to check: an op with its parameters and operands.
#[derive(Clone, Debug)]
pub struct Case {
    pub op: Arc<dyn AnyOp>,
    pub inputs: Vec<CaseInput>,
    pub step: Step,
    /// How far an f32 kernel may be from the f64 twin.
    pub bound: Bound,
}

/// The error an f32 kernel is allowed, with its derivation in the op's file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Units of rounding (2⁻²⁴) relative to the element itself.
    pub relative: f64,
    /// Units of rounding of a fixed magnitude: that of the terms which were summed and may have cancelled.
    pub absolute: f64,
}

impl Bound {
    pub const fn new(relative: f64, absolute: f64) -> Self {
        Self { relative, absolute }
    }

    /// For results that must be equal to the bit: copies, gathers, masks.
    pub const EXACT: Self = Self::new(0.0, 0.0);

    /// For one addition or product: WGSL leaves open to which neighbour an adapter rounds, which is 2 units, and
    /// rounding to the nearest uses one of them.
    pub const ROUNDED: Self = Self::new(2.0, 0.0);

    /// For a sum of `terms` products of at most `magnitude` each: rounding errors of a fixed-order sum walk
    /// at random, so about √terms units of the sum of magnitudes; four times that is never seen in practice.
    pub fn sum(terms: usize, magnitude: f64) -> Self {
        let terms = terms as f64;
        Self::new(2.0, 4.0 * terms.sqrt().max(1.0) * magnitude * terms.sqrt().max(1.0))
    }

    /// The largest |got - want| allowed where `want` is expected.
    pub fn allows(&self, want: f64) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 24) as f64;
        // Denormals may be flushed to zero.
        UNIT * (self.relative * want.abs() + self.absolute) + f64::from(f32::MIN_POSITIVE)
    }
}

impl Case {
    /// A case on which operands are numbers to ±1 unless [`with`](Self::with) says otherwise.
    pub fn new(op: impl AnyOp, inputs: &[Spec], bound: Bound) -> Self {
        let inputs = inputs
            .iter()
            .map(|&spec| CaseInput {
                spec,
                fill: if spec.dtype == Dtype::F32 { Fill::Uniform(1.0) } else { Fill::Index(1) },
                fixed: spec.dtype != Dtype::F32,
            })
            .collect();
        let step = Step {
            seed: 0x5eed,
            position: 0,
            learning_rate: 1e-3,
            correction1: 0.271,
            correction2: 0.0297,
            ..Step::default()
        };
        Self { op: Arc::new(op), inputs, step, bound }
    }

    /// Draws operand `i` another way.
    pub fn with(mut self, i: usize, fill: Fill) -> Self {
        self.inputs[i].fill = fill;
        self
    }

    /// Declares operand `i` a table that is never trained.
    pub fn fixed(mut self, i: usize) -> Self {
        self.inputs[i].fixed = true;
        self
    }

    /// Decodes at a position other than 0.
    pub fn at_position(mut self, position: u32) -> Self {
        self.step.position = position;
        self
    }

    /// The name under which the case is printed and selected: op, parameters and operands.
    pub fn name(&self) -> String {
        let operands: Vec<_> = self.inputs.iter().map(|i| format!("{} {:?}", i.spec, i.fill)).collect();
        format!("{:?} of {}", self.op, operands.join(", "))
    }
}
