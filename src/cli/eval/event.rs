//! What `lal eval --json` reports.

use serde::Serialize;

use crate::finetune::report::{Answers, Grades};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// Of a text, or of the answers of conversations: nats per token, and what follows from it.
    Loss {
        data: &'a str,
        tokens: usize,
        val_loss: f64,
        perplexity: f64,
        bits_per_byte: f64,
        /// The least loss there can be, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        floor: Option<f64>,
    },
    Answers {
        #[serde(flatten)]
        answers: Answers,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        by_question: Vec<ByQuestion>,
    },
    /// Of two models the first, where replies differ in worth; equal ones count half.
    Against {
        model: String,
        win_rate: f64,
        wins: usize,
        ties: usize,
        losses: usize,
        #[serde(flatten)]
        grades: Option<Grades>,
    },
    Done {
        val_loss: f64,
    },
}

/// How questions of a kind were answered: those that the tale answers, and those that it does not.
#[derive(Serialize)]
pub struct ByQuestion {
    pub question: &'static str,
    pub told: usize,
    pub right: usize,
    pub untold: usize,
    pub honest: usize,
}
