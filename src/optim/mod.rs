//! Optimisers: what turns gradients on a tape into updates of parameters.

pub mod adamw;
mod clip;
pub mod muon;
pub mod schedule;
pub mod sgd;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use self::muon::Muon;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::ops::adamw::AdamW;
use crate::ops::sgd::Sgd;

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
        let AdamW { beta1, weight_decay, clip, .. } = self.adamw;
        match self.optimizer {
            Optimizer::AdamW => adamw::update(tape, self.adamw, gradients),
            Optimizer::Muon => {
                let muon = Muon { weight_decay, ..Muon::default() };
                muon::update(tape, muon, self.adamw, gradients, is_hidden)
            }
            Optimizer::Sgd => {
                let sgd = Sgd { momentum: beta1, nesterov: false, weight_decay, clip };
                sgd::update(tape, sgd, gradients)
            }
        }
    }
}

/// Whether a matrix multiplies what lies between the embeddings and the head.
fn is_hidden(name: &str) -> bool {
    let mut parts = name.rsplit('.').skip(1);
    !parts.next().is_some_and(|layer| ["wte", "wpe", "lm_head", "bigram", "c_conv"].contains(&layer))
}
