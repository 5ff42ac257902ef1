//! Direct preference optimisation (Rafailov et al. 2023): the better of two answers becomes more likely, relative
//! to a reference, without a reward model in between.
//!
//! With h = ln π(better) − ln π(worse) − (ln π_ref(better) − ln π_ref(worse)), the sum being over an answer's tokens:
//!
//! | form | loss |
//! |---|---|
//! | sigmoid (eq. 7) | −ln σ(β h) |
//! | with labels that are wrong with probability ε (Mitchell 2023) | −(1 − ε) ln σ(β h) − ε ln σ(−β h) |
//! | identity, IPO (Azar et al. 2024, eq. 17) | (h − 1 / 2β)², h being a mean over tokens as in TRL |
//! | added to either, the better answer as a demonstration (Pang et al. 2024, eq. 1) | −α ln π(better) / its tokens |

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::inputs::{Input, Inputs};
use super::loss::{BatchShape, Loss, constant};
use super::pairs::Pairs;
use super::tokens;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::Backbone;
use crate::ops::add::Add;
use crate::ops::combine::Combine;
use crate::ops::logistic_loss::LogisticLoss;
use crate::ops::squared_loss::SquaredLoss;

/// The loss of a preference, by the difference between two answers; `loss_type` in TRL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceLoss {
    #[default]
    Sigmoid,
    Ipo,
}

/// Preferences to be learned against a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    pub loss: PreferenceLoss,
    /// How strongly the policy is held to the reference.
    pub beta: f32,
    /// ε: the share of labels taken to be wrong; for the sigmoid.
    pub label_smoothing: f32,
    /// α: how much the better answer counts as a demonstration too. Differences alone may grow while both answers
    /// become less likely.
    pub sft_weight: f32,
}

impl Default for Preference {
    fn default() -> Self {
        Self { loss: PreferenceLoss::Sigmoid, beta: 0.3, label_smoothing: 0.0, sft_weight: 0.5 }
    }
}

impl Preference {
    /// What a token of an answer of `len` tokens counts for.
    pub fn token_share(&self, len: usize) -> f32 {
        match self.loss {
            PreferenceLoss::Sigmoid => self.beta,
            PreferenceLoss::Ipo => 1.0 / len as f32,
        }
    }

    /// Targets; pairs, which hold ∓[share](Self::token_share) at the tokens of answers; the offsets by the reference;
    /// with an [`sft_weight`](Self::sft_weight) also demonstrations, which hold it divided by the tokens of the better
    /// answer, at these.
    pub fn inputs(&self, shape: BatchShape) -> Vec<(Input, Spec)> {
        let own = [
            (Input::Targets, Spec::u32([shape.predictions])),
            (Input::Offsets, Spec::f32([shape.sequences / 2])),
        ];
        own.into_iter().chain(Pairs::inputs(shape, self.sft_weight > 0.0)).collect()
    }

    /// The output is the difference, β h or for IPO h, of each pair, (count).
    pub fn record(
        &self,
        tape: &mut Tape,
        backbone: &Backbone,
        inputs: &Inputs,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        let (targets, offsets) = (inputs.get(Input::Targets)?, inputs.get(Input::Offsets)?);
        let pairs = Pairs::of(tape, inputs)?;
        let demonstrations = inputs.find(Input::Demonstrations).map(|matrix| pairs.by(matrix));

        let nll = tokens::nll(tape, backbone, targets)?;
        let of_policy = pairs.compare(tape, nll)?;
        let margins = tape.apply_one(Add, &[of_policy, offsets])?;
        let (losses, dmargins) = match self.loss {
            PreferenceLoss::Sigmoid => {
                let labels = constant(tape, pairs.count, 1.0 - self.label_smoothing);
                // The gradient takes the place of what it is given, and the margins are read back.
                let copy = tape.apply_one(Combine::scale(1.0), &[margins])?;
                let outputs = tape.apply(LogisticLoss { gradient: true }, &[copy, labels, pairs.weights])?;
                (outputs[0], outputs[1])
            }
            PreferenceLoss::Ipo => {
                let goal = constant(tape, pairs.count, 0.5 / self.beta);
                let twice = tape.apply_one(Combine::scale(2.0), &[pairs.weights])?;
                let outputs = tape.apply(SquaredLoss { clip: None }, &[margins, goal, twice])?;
                (outputs[0], outputs[1])
            }
        };
        let mut total = tokens::add_sum(tape, losses, None)?;
        if let Some(demonstrations) = demonstrations {
            let of_better = demonstrations.compare(tape, nll)?;
            let sum = demonstrations.weigh(tape, of_better)?;
            total = tokens::add_sum(tape, sum, Some(total))?;
        }
        let mut seeds = Vec::new();
        if gradient {
            let mut dnll = pairs.spread(tape, dmargins)?;
            if let Some(demonstrations) = demonstrations {
                let of_better = demonstrations.spread(tape, pairs.weights)?;
                dnll = tape.apply_one(Add, &[dnll, of_better])?;
            }
            seeds = tokens::loss(tape, backbone, targets, dnll, true, into)?.seeds;
        }
        Ok(Loss { total, seeds, outputs: vec![margins] })
    }
}
