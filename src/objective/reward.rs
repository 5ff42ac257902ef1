//! Reward models: of two answers the better one gets the higher score (Bradley & Terry 1952; Ouyang et al. 2022).

use super::pairs::Pairs;
use super::score::Score;
use super::{BatchShape, Loss, constant, tokens};
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::models::Trunk;
use crate::ops::combine::Combine;
use crate::ops::logistic_loss::LogisticLoss;

/// −ln σ(r(better) − r(worse)), r(answer) the score at the answer's last token.
///
/// Inputs `pairs` (count, predictions), which hold ±1 at the ends of answers, and `weights` (count). The output is the
/// difference of each pair, (count).
///
/// # Errors
/// When the model does not fit.
pub fn loss(
    tape: &mut Tape,
    trunk: &Trunk,
    score: &Score,
    shape: BatchShape,
    gradient: bool,
) -> Result<Loss, OpError> {
    tape.scoped("reward", |tape| {
        let pairs = Pairs::declare(tape, shape);
        let scores = score.record(tape, trunk.hidden)?;
        let margins = pairs.compare(tape, scores)?;
        let labels = constant(tape, pairs.count, 1.0);
        // The gradient takes the place of what it is given, and the margins are read back.
        let copy = tape.apply_one(Combine::scale(1.0), &[margins])?;
        let outputs = tape.apply(LogisticLoss { gradient: true }, &[copy, labels, pairs.weights])?;
        let total = tokens::add_sum(tape, outputs[0], None)?;
        let mut seeds: Vec<(Var, Var)> = Vec::new();
        if gradient {
            seeds.push((scores, pairs.spread(tape, outputs[1])?));
        }
        Ok(Loss { total, seeds, outputs: vec![margins] })
    })
}
