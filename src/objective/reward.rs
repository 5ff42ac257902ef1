//! Reward models: of two answers the better one gets the higher score (Bradley & Terry 1952; Ouyang et al. 2022).
//!
//! A score is one number for a whole answer, and says little of what was wrong in it. So the better answer may count as
//! a demonstration too (Yang et al. 2024), which trains the representation that the score is read from.

use std::collections::HashMap;

use super::inputs::{Input, Inputs};
use super::loss::{BatchShape, Loss, constant};
use super::pairs::Pairs;
use super::score::Score;
use super::tokens;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::Backbone;
use crate::ops::combine::Combine;
use crate::ops::logistic_loss::LogisticLoss;

/// Scores to be learned from pairs of answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reward {
    /// α: how much the better answer counts as a demonstration.
    pub sft_weight: f32,
}

impl Default for Reward {
    fn default() -> Self {
        Self { sft_weight: 1.0 }
    }
}

impl Reward {
    /// Pairs, which hold ±1 at the ends of answers; with an [`sft_weight`](Self::sft_weight) also targets and
    /// demonstrations, which hold it divided by the tokens of the better answer, at these.
    pub fn inputs(&self, shape: BatchShape) -> Vec<(Input, Spec)> {
        let sft = self.sft_weight > 0.0;
        let targets = sft.then_some((Input::Targets, Spec::u32([shape.predictions])));
        Pairs::inputs(shape, sft).into_iter().chain(targets).collect()
    }

    /// −ln σ(r(better) − r(worse)) − α ln π(better) / its tokens, r(answer) being the score at the answer's last token.
    /// The output is the difference of each pair, (count).
    pub fn record(
        &self,
        tape: &mut Tape,
        backbone: &Backbone,
        score: &Score,
        inputs: &Inputs,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        tape.scoped("reward", |tape| {
            let pairs = Pairs::of(tape, inputs)?;
            let scores = score.record(tape, backbone.hidden)?;
            let margins = pairs.compare(tape, scores)?;
            let labels = constant(tape, pairs.count, 1.0);
            // The gradient takes the place of what it is given, and the margins are read back.
            let copy = tape.apply_one(Combine::scale(1.0), &[margins])?;
            let outputs = tape.apply(LogisticLoss { gradient: true }, &[copy, labels, pairs.weights])?;
            let mut total = tokens::add_sum(tape, outputs[0], None)?;
            let mut seeds: Vec<(Var, Var)> = Vec::new();
            if gradient {
                seeds.push((scores, pairs.spread(tape, outputs[1])?));
            }
            if let Some(demonstrations) = inputs.find(Input::Demonstrations) {
                let targets = inputs.get(Input::Targets)?;
                let weights = pairs.by(demonstrations).spread(tape, pairs.weights)?;
                let of_better = tokens::loss(tape, backbone, targets, weights, gradient, into)?;
                total = tokens::add_sum(tape, of_better.total, Some(total))?;
                seeds.extend(of_better.seeds);
            }
            Ok(Loss { total, seeds, outputs: vec![margins] })
        })
    }
}
