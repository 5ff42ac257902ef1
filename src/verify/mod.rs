//! Checks every op against its formula: kernels and fast twins against the f64 twin, derivatives against
//! finite differences of it.
//!
//! The cases come from the registry, their operands from [`inputs`], the verdicts from [`compare`].

pub mod check;
pub mod compare;
pub mod crew;
pub mod derivative;
mod equivalent;
pub mod inputs;
pub mod lockstep;
pub mod mutants;
pub mod self_test;
pub mod slopes;
pub mod walk;

use std::fmt;

use self::compare::Worst;
use crate::engine::case::Case;

/// What was compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// The f32 twin with the f64 twin.
    Twin,
    /// A kernel on the GPU with the f64 twin.
    Kernel,
    /// A derivative with finite differences of the f64 twin.
    Derivative,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Twin => "twin",
            Self::Kernel => "kernel",
            Self::Derivative => "derivative",
        })
    }
}

/// One verdict.
#[derive(Clone, Debug)]
pub struct Check {
    pub op: &'static str,
    /// The kernel, or what of the derivative was checked.
    pub variant: String,
    pub case: String,
    pub kind: CheckKind,
    /// The error that came nearest to its bound, or went furthest beyond it.
    pub worst: Worst,
    /// What is wrong, if anything.
    pub failure: Option<String>,
}

impl Check {
    /// A verdict yet to be filled in.
    fn of(case: &Case, variant: impl Into<String>, kind: CheckKind) -> Self {
        let (op, case) = (case.op.info().name, case.name());
        Self { op, variant: variant.into(), case, kind, worst: Worst::default(), failure: None }
    }

    /// Whether it is within its bound.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Takes in another comparison: the worst error of all is kept, and the first failure.
    fn add(&mut self, output: impl fmt::Display, worst: compare::Worst) {
        if let Some(message) = &worst.failure {
            self.failure.get_or_insert(format!("{output} {message}"));
        }
        if worst.ratio() >= self.worst.ratio() {
            self.worst = worst;
        }
    }

    fn fail(&mut self, message: impl fmt::Display) {
        self.failure.get_or_insert(message.to_string());
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {} on {}: ", self.op, self.kind, self.variant, self.case)?;
        match &self.failure {
            Some(message) => f.write_str(message),
            None => write!(f, "error {:.3e} within {:.3e}", self.worst.error, self.worst.bound),
        }
    }
}
