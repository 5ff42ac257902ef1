//! How good a fine-tuned model is, by what is held out.

use serde::Serialize;

use super::calibration::Calibration;
use super::critique::Violations;
use crate::text::tales::Exchange;
use crate::text::tales::grade::{Tally, grade};

/// What a stage says of its model; each stage reports what it can.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub answers: Option<Answers>,
    pub violations: Option<Violations>,
    /// Of a reward model.
    pub calibration: Option<Calibration>,
}

/// How held-out questions are answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answers {
    pub questions: usize,
    /// The share of answers that match exactly.
    pub exact_match: f64,
    /// `None` where no program can grade replies.
    #[serde(flatten)]
    pub grades: Option<Grades>,
}

/// What the program that knows the Tales world says of replies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grades {
    pub accuracy: f64,
    pub honesty: f64,
    pub kindness: f64,
    pub reward: f64,
    pub reward_std: f64,
}

impl Grades {
    pub fn of(exchanges: &[Exchange], replies: &[String]) -> Self {
        exchanges.iter().zip(replies).map(|(asked, reply)| grade(asked, reply)).collect::<Tally>().into()
    }
}

impl From<Tally> for Grades {
    fn from(tally: Tally) -> Self {
        Self {
            accuracy: tally.accuracy(),
            honesty: tally.honesty(),
            kindness: tally.kindness(),
            reward: tally.mean_reward(),
            reward_std: tally.std_reward(),
        }
    }
}
