//! Training objectives: losses that are recorded after a model's backbone, with the inputs that a batch must have.

pub mod inputs;
mod loss;
pub mod neighbours;
mod pairs;
pub mod policy;
pub mod preference;
pub mod reward;
pub mod score;
pub mod tokens;

use std::collections::HashMap;

use self::inputs::{Input, Inputs};
pub use self::loss::{BatchShape, Loss};
use self::policy::Policy;
use self::preference::{Preference, PreferenceLoss};
use self::reward::Reward;
use self::score::Score;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::Backbone;

/// What a model is trained for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Objective {
    /// To predict tokens: the next ones, or masked ones.
    #[default]
    Tokens,
    /// To distinguish the neighbours of a word from other words.
    Neighbours,
    /// To prefer the better of two answers, relative to a reference (DPO, IPO).
    Preference(Preference),
    /// To score the better of two answers higher (reward model).
    Reward(Reward),
    /// To maximise rewards (PPO, GRPO).
    Policy(Policy),
}

impl Objective {
    /// What the loss is, with its unit.
    pub fn quantity(&self) -> &'static str {
        match self {
            Self::Tokens => "loss (nats per token)",
            Self::Neighbours => "loss (nats per candidate)",
            Self::Preference(Preference { loss: PreferenceLoss::Ipo, .. }) => "squared loss (per pair)",
            Self::Preference(_) | Self::Reward(_) => "loss (nats per pair)",
            Self::Policy(_) => "policy loss",
        }
    }

    /// Rows of tokens in a batch of this size: preferences come in pairs.
    pub fn sequences(&self, batch_size: usize) -> usize {
        match self {
            Self::Preference(_) | Self::Reward(_) => batch_size.saturating_mul(2),
            Self::Tokens | Self::Neighbours | Self::Policy(_) => batch_size,
        }
    }

    /// What it reads of a batch besides the model's own inputs: what a plan declares and a source fills.
    pub fn inputs(&self, shape: BatchShape) -> Vec<(Input, Spec)> {
        let n = shape.predictions;
        match self {
            Self::Tokens => vec![(Input::Targets, Spec::u32([n])), (Input::Weights, Spec::f32([n]))],
            Self::Neighbours => {
                let (batch, candidates) = (shape.sequences, n / shape.sequences);
                let numbers = Spec::f32([batch, 1, candidates]);
                let targets = Spec::u32([batch, candidates]);
                vec![(Input::Targets, targets), (Input::Labels, numbers), (Input::Weights, numbers)]
            }
            Self::Preference(preference) => preference.inputs(shape),
            Self::Reward(reward) => reward.inputs(shape),
            Self::Policy(policy) => policy.inputs(shape),
        }
    }

    /// What each token of an answer of `len` tokens counts for in the difference of its pair; `None` where the end of
    /// the answer alone counts, for a reward.
    pub fn token_share(&self, len: usize) -> Option<f32> {
        match self {
            Self::Preference(preference) => Some(preference.token_share(len)),
            _ => None,
        }
    }

    /// How much the better answer of a pair counts as a demonstration too.
    pub fn sft_weight(&self) -> f32 {
        match *self {
            Self::Preference(Preference { sft_weight, .. }) | Self::Reward(Reward { sft_weight }) => {
                sft_weight
            }
            Self::Tokens | Self::Neighbours | Self::Policy(_) => 0.0,
        }
    }

    /// Declares the parameters that the objective adds to a model `n_embd` wide.
    pub fn head(&self, tape: &mut Tape, n_embd: usize) -> Option<Score> {
        match self {
            Self::Reward(_) => Some(Score::reward(tape, n_embd)),
            Self::Policy(Policy { value: Some(_), .. }) => Some(Score::value(tape, n_embd)),
            Self::Tokens | Self::Neighbours | Self::Preference(_) | Self::Policy(_) => None,
        }
    }

    /// Records the [head](Self::head) and its loss, and with `gradient` where its backward pass starts from. `into`
    /// holds tensors that gradients of parameters are added to.
    pub fn record(
        &self,
        tape: &mut Tape,
        backbone: &Backbone,
        head: Option<&Score>,
        shape: BatchShape,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        let inputs = Inputs::declare(tape, &self.inputs(shape));
        match self {
            Self::Tokens => {
                let (targets, weights) = (inputs.get(Input::Targets)?, inputs.get(Input::Weights)?);
                tokens::loss(tape, backbone, targets, weights, gradient, into)
            }
            Self::Neighbours => {
                let others = [inputs.get(Input::Labels)?, inputs.get(Input::Weights)?];
                neighbours::loss(tape, backbone, inputs.get(Input::Targets)?, others, gradient)
            }
            Self::Preference(preference) => preference.record(tape, backbone, &inputs, gradient, into),
            Self::Reward(reward) => {
                let score = head.ok_or_else(|| OpError::new("a reward needs its head"))?;
                reward.record(tape, backbone, score, &inputs, gradient, into)
            }
            Self::Policy(policy) => policy.record(tape, backbone, head, &inputs, gradient, into),
        }
    }
}
