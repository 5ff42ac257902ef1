//! Reinforcement learning from rewards: proximal policy optimisation (Schulman et al. 2017) with a value head, and
//! GRPO (Shao et al. 2024), which has none.
//!
//! loss = Σ w (policy_loss + c_v value_loss − c_e entropy) over the tokens that the policy chose.

use std::collections::HashMap;

use super::inputs::{Input, Inputs};
use super::loss::{BatchShape, Loss};
use super::score::Score;
use super::tokens;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::engine::tensor::Spec;
use crate::models::Backbone;
use crate::ops::combine::Combine;
use crate::ops::policy_loss::PolicyLoss;
use crate::ops::squared_loss::SquaredLoss;

/// The state that holds the KL coefficient: it is adapted, and a resumed run needs it.
pub const KL_COEFFICIENT: &str = "policy.kl_coefficient";

/// The state that holds the mean and standard deviation by which rewards are normalised: those of the first replies;
/// zeros before.
pub const REWARD_MOMENTS: &str = "policy.reward_moments";

/// The coefficients of a policy's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// ε of the ratio, and of values.
    pub clip: f32,
    /// KL coefficient of the loss, as in GRPO.
    pub kl: f32,
    /// Initial KL coefficient of the rewards, as in PPO.
    pub reward_kl: f32,
    /// c_v; `None` without a value head.
    pub value: Option<f32>,
    /// c_e
    pub entropy: f32,
}

impl Policy {
    /// All (predictions). Weights are 0 for tokens that the policy did not choose.
    pub fn inputs(&self, shape: BatchShape) -> Vec<(Input, Spec)> {
        let n = shape.predictions;
        let mut numbers = vec![Input::Weights, Input::OldNll, Input::Advantages];
        numbers.extend((self.kl != 0.0).then_some(Input::ReferenceNll));
        numbers.extend(self.value.map(|_| [Input::Returns, Input::OldValues]).into_iter().flatten());
        let numbers = numbers.into_iter().map(|input| (input, Spec::f32([n])));
        [(Input::Targets, Spec::u32([n]))].into_iter().chain(numbers).collect()
    }

    /// The outputs are the negative log-probabilities now, (predictions), with an entropy coefficient −c_e Σ w H,
    /// (1), and with a value head the values, (predictions).
    pub fn record(
        &self,
        tape: &mut Tape,
        backbone: &Backbone,
        value_head: Option<&Score>,
        inputs: &Inputs,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        let (targets, weights) = (inputs.get(Input::Targets)?, inputs.get(Input::Weights)?);
        tape.state(KL_COEFFICIENT, [1], Init::Constant(self.reward_kl), State::Saved);
        tape.state(REWARD_MOMENTS, [2], Init::Constant(0.0), State::Saved);

        let nll = tokens::nll(tape, backbone, targets)?;
        let mut operands = vec![nll, inputs.get(Input::OldNll)?, inputs.get(Input::Advantages)?, weights];
        operands.extend(inputs.find(Input::ReferenceNll));
        let of_policy = tape.apply(PolicyLoss { clip: self.clip, kl: self.kl }, &operands)?;
        let mut total = tokens::add_sum(tape, of_policy[0], None)?;
        let mut outputs = vec![nll];
        let mut seeds = Vec::new();

        let entropy = match self.entropy {
            0.0 => None,
            coefficient => Some(tape.apply_one(Combine::scale(-coefficient), &[weights])?),
        };
        if gradient || entropy.is_some() {
            let rows = tokens::Rows { targets, weights: of_policy[1], entropy };
            let loss = rows.loss(tape, backbone, gradient, into)?;
            seeds.extend(loss.seeds);
            for &entropy in &loss.outputs {
                total = tokens::add_sum(tape, entropy, Some(total))?;
            }
            outputs.extend(loss.outputs);
        }
        if let (Some(coefficient), Some(head)) = (self.value, value_head) {
            let (returns, old) = (inputs.get(Input::Returns)?, inputs.get(Input::OldValues)?);
            let values = head.record(tape, backbone.hidden)?;
            let weights = tape.apply_one(Combine::scale(coefficient), &[weights])?;
            let loss = SquaredLoss { clip: Some(self.clip) };
            let of_values = tape.apply(loss, &[values, returns, weights, old])?;
            total = tokens::add_sum(tape, of_values[0], Some(total))?;
            seeds.push((values, of_values[1]));
            outputs.push(values);
        }
        Ok(Loss { total, seeds: if gradient { seeds } else { Vec::new() }, outputs })
    }
}
