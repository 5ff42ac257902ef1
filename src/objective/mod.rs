//! What models are trained for: losses recorded behind a model's trunk, with what a batch must consist of.

pub mod neighbours;
mod pairs;
pub mod policy;
pub mod preference;
pub mod reward;
pub mod score;
pub mod tokens;

use std::collections::HashMap;

use self::policy::Policy;
use self::preference::{Form, Preference};
use self::reward::Reward;
use self::score::Score;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::engine::tensor::Spec;
use crate::models::Trunk;

/// What a model is trained for. Each declares its own inputs beside `tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Objective {
    /// To predict tokens: the next ones, or masked ones.
    #[default]
    Tokens,
    /// To tell the neighbours of a word from others.
    Neighbours,
    /// To find the better of two answers likelier than the worse, against a reference.
    Preference(Preference),
    /// To score the better of two answers higher.
    Reward(Reward),
    /// To say what is rewarded.
    Policy(Policy),
}

/// A loss on the tape.
pub struct Loss {
    /// Σ weight · loss, (1).
    pub total: Var,
    /// Gradients to start the backward pass from; empty without `gradient`.
    pub seeds: Vec<(Var, Var)>,
    /// What else is read back after a run, as each objective says.
    pub outputs: Vec<Var>,
}

/// Sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// Rows of tokens.
    pub sequences: usize,
    /// Predictions; for most models one for each token.
    pub predictions: usize,
}

impl Objective {
    /// What the loss is, with its unit.
    pub fn quantity(&self) -> &'static str {
        match self {
            Self::Tokens => "loss (nats per token)",
            Self::Neighbours => "loss (nats per candidate)",
            Self::Preference(Preference { form: Form::Ipo, .. }) => "squared loss (per pair)",
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

    /// Declares the parameters that the objective adds to a model `n_embd` wide.
    pub fn head(&self, tape: &mut Tape, n_embd: usize) -> Option<Score> {
        match self {
            Self::Reward(_) => Some(Score::reward(tape, n_embd)),
            Self::Policy(Policy { value: Some(_), .. }) => Some(Score::value(tape, n_embd)),
            Self::Tokens | Self::Neighbours | Self::Preference(_) | Self::Policy(_) => None,
        }
    }

    /// Records the [head](Self::head) and its loss, and with `gradient` where its backward pass starts from. `into` holds tensors
    /// that gradients of parameters are added to.
    ///
    /// # Errors
    /// When the model does not fit the objective.
    pub fn record(
        &self,
        tape: &mut Tape,
        trunk: &Trunk,
        head: Option<&Score>,
        shape: BatchShape,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        let n = shape.predictions;
        match self {
            Self::Tokens => {
                let targets = tape.input("targets", Spec::u32([n]));
                let weights = tape.input("weights", Spec::f32([n]));
                tokens::loss(tape, trunk, targets, weights, gradient, into)
            }
            Self::Neighbours => {
                let (batch, candidates) = (shape.sequences, n / shape.sequences);
                let targets = tape.input("targets", Spec::u32([batch, candidates]));
                let others =
                    ["labels", "weights"].map(|name| tape.input(name, Spec::f32([batch, 1, candidates])));
                neighbours::loss(tape, trunk, targets, others, gradient)
            }
            Self::Preference(preference) => preference.record(tape, trunk, shape, gradient, into),
            Self::Reward(reward) => {
                let score = head.ok_or_else(|| OpError::new("a reward needs its head"))?;
                reward.record(tape, trunk, score, shape, gradient, into)
            }
            Self::Policy(policy) => policy.record(tape, trunk, head, shape, gradient, into),
        }
    }
}

/// `n` times the same number.
fn constant(tape: &mut Tape, n: usize, value: f32) -> Var {
    tape.state(&format!("constant.{value}.{n}"), [n], Init::Constant(value), State::Transient)
}
