//! Optimisers: what turns gradients on a tape into updates of parameters.

pub mod adamw;
pub mod schedule;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::ops::adamw::AdamW;

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    #[value(name = "adamw")]
    AdamW,
    /// Orthogonalised momentum for the matrices inside blocks, AdamW for the rest (Jordan et al. 2024).
    Muon,
    /// Stochastic gradient descent, its momentum AdamW's β₁.
    Sgd,
}

/// An optimiser with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub optimizer: Optimizer,
    pub adamw: AdamW,
}

impl Rule {
    /// Records the update of every parameter from its gradient; returns the global norm before clipping, (1).
    ///
    /// # Errors
    /// When a gradient's shape is not its parameter's.
    pub fn record(&self, tape: &mut Tape, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
        adamw::update(tape, self.adamw, gradients)
    }
}
