//! How held-out questions about tales are answered.

use serde::Serialize;

use super::run::Learner;
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::finetune::answers::{exact_match, replies};
use crate::sample::reply::ReplyError;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::tales::Exchange;
use crate::text::tales::judge::{Tally, judge};

/// To the letter, and as the world's [judge] sees it.
#[derive(Serialize)]
#[serde(tag = "event", rename = "answers")]
struct Answers {
    step: u64,
    questions: usize,
    exact_match: f64,
    accuracy: f64,
    honesty: f64,
    kindness: f64,
    reward: f64,
}

/// The likeliest replies of the model in training.
///
/// # Errors
/// When the device fails.
pub fn greedy_replies(
    device: &mut dyn Device,
    at: &Learner,
    examples: &[Example],
    output: Output,
) -> Result<Vec<String>, ReplyError> {
    let bar = output.progress("questions answered");
    let mut progress = |done, of| bar.at(done as u64, of as u64);
    replies(device, &at.model, &at.tokenizer, examples, &Strategy::greedy(), 0, &mut progress)
}

/// Tells how the model in training answers `questions`, which `examples` are as conversations.
///
/// # Errors
/// When the device or the output fails.
pub fn tell(
    device: &mut dyn Device,
    step: u64,
    at: &Learner,
    questions: &[Exchange],
    examples: &[Example],
    output: Output,
) -> anyhow::Result<()> {
    if questions.is_empty() {
        return Ok(());
    }
    let replies = greedy_replies(device, at, examples, output)?;
    let exact_match = exact_match(examples, &replies, &at.tokenizer);
    let tally: Tally = questions.iter().zip(&replies).map(|(asked, reply)| judge(asked, reply)).collect();
    let answers = Answers {
        step,
        questions: tally.questions,
        exact_match,
        accuracy: tally.accuracy(),
        honesty: tally.honesty(),
        kindness: tally.kindness(),
        reward: tally.mean_reward(),
    };
    if output.json {
        return output.event(&answers);
    }
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    output.line(format!(
        "step {step}: {} of {} held-out questions answered to the letter",
        percent(exact_match),
        answers.questions,
    ))?;
    Ok(output.line(format!(
        "  accuracy {}, honesty {}, kindness {}, reward {:.2}",
        percent(answers.accuracy),
        percent(answers.honesty),
        percent(answers.kindness),
        answers.reward,
    ))?)
}
