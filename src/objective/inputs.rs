//! The inputs of a training batch. Plans declare them and sources fill them by the same handle.

use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;

/// An input of a plan that reads a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Token ids, in the shape of [`ModelConfig::tokens_shape`](crate::models::config::ModelConfig::tokens_shape).
    Tokens,
    /// The example that each token belongs to, where examples share a row.
    Segments,
    /// The position of each token in its segment.
    Positions,
    /// The rows of hidden states at which something is predicted.
    Places,
    /// The token to predict, for each prediction.
    Targets,
    /// The weight of each prediction or pair in the loss.
    Weights,
    /// Of word vectors: 1 for a neighbour, 0 for any other token.
    Labels,
    /// What each prediction counts for in the difference of a pair, (pairs, predictions).
    Pairs,
    /// The share of each prediction in the NLL of the better answers, (pairs, predictions).
    Demonstrations,
    /// Minus the difference of each pair under the reference.
    Offsets,
    /// The negative log-probability of each token when it was sampled.
    OldNll,
    /// The same under the reference.
    ReferenceNll,
    Advantages,
    /// The targets of the value head.
    Returns,
    /// The values when the tokens were sampled.
    OldValues,
}

impl Input {
    /// What the plan and the device call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Segments => "segments",
            Self::Positions => "positions",
            Self::Places => "places",
            Self::Targets => "targets",
            Self::Weights => "weights",
            Self::Labels => "labels",
            Self::Pairs => "pairs",
            Self::Demonstrations => "demonstrations",
            Self::Offsets => "offsets",
            Self::OldNll => "old",
            Self::ReferenceNll => "reference",
            Self::Advantages => "advantages",
            Self::Returns => "returns",
            Self::OldValues => "old_values",
        }
    }

    pub fn declare(self, tape: &mut Tape, spec: Spec) -> Var {
        tape.input(self.name(), spec)
    }
}

/// The inputs of an objective on a tape.
pub struct Inputs(Vec<(Input, Var)>);

impl Inputs {
    pub fn declare(tape: &mut Tape, inputs: &[(Input, Spec)]) -> Self {
        Self(inputs.iter().map(|&(input, spec)| (input, input.declare(tape, spec))).collect())
    }

    /// `None` where the objective has no such input.
    pub fn find(&self, input: Input) -> Option<Var> {
        self.0.iter().find(|(declared, _)| *declared == input).map(|&(_, var)| var)
    }

    pub fn get(&self, input: Input) -> Result<Var, OpError> {
        self.find(input).ok_or_else(|| OpError::new(format!("the objective lists no input {}", input.name())))
    }
}
