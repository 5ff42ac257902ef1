//! Optimisers: what turns gradients on a tape into updates of parameters.

pub mod adamw;
mod clip;
pub mod muon;
pub mod schedule;
pub mod sgd;

use serde::{Deserialize, Serialize};

use self::muon::Muon;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::ops::adamw::AdamW;
use crate::ops::sgd::Sgd;

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW,
    /// Orthogonalised momentum for the matrices inside blocks, AdamW for the rest (Jordan et al. 2024).
    Muon,
    /// Stochastic gradient descent, its momentum AdamW's β₁.
    Sgd,
}

/// An optimiser with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerConfig {
    pub optimizer: Optimizer,
    pub adamw: AdamW,
}

impl OptimizerConfig {
    /// Records the update of every parameter from its gradient; returns the global norm before clipping, (1).
    pub fn record(&self, tape: &mut Tape, gradients: &[(Var, Var)]) -> Result<Var, OpError> {
        let AdamW { beta1, weight_decay, clip, .. } = self.adamw;
        match self.optimizer {
            Optimizer::AdamW => adamw::update(tape, self.adamw, gradients),
            Optimizer::Muon => {
                let muon = Muon { weight_decay, ..Muon::default() };
                muon::update(tape, muon, self.adamw, gradients)
            }
            Optimizer::Sgd => {
                let sgd = Sgd { momentum: beta1, nesterov: false, weight_decay, clip };
                sgd::update(tape, sgd, gradients)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::ModelConfig;
    use crate::objective::Objective;
    use crate::objective::policy::Policy;
    use crate::objective::reward::Reward;
    use crate::train::plans::{StepShape, training};

    /// Orthogonalised, the one row of a head of 128 channels would move a fifth as far as by AdamW.
    #[test]
    fn muon_moves_the_matrices_inside_blocks_and_adamw_every_head() {
        let model = ModelConfig::gpt(17, 12, 1, 2, 8);
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, clip: 1.0 };
        let policy = Policy { clip: 0.2, kl: 0.0, reward_kl: 0.1, value: Some(0.5), entropy: 0.0 };
        for (objective, head) in
            [(Objective::Reward(Reward::default()), "score"), (Objective::Policy(policy), "value_head")]
        {
            let shape = StepShape { objective, ..StepShape::pretraining(&model, 2, 1) };
            let plan =
                training(&model, shape, &OptimizerConfig { optimizer: Optimizer::Muon, adamw }).unwrap();
            let has = |state: String| plan.persistent().any(|(name, ..)| name == state);
            assert!(has("muon.m.transformer.h.0.attn.c_proj.weight".into()));
            for layer in [head, "transformer.wte"] {
                assert!(has(format!("adamw.m.{layer}.weight")) && !has(format!("muon.m.{layer}.weight")));
            }
        }
    }
}
