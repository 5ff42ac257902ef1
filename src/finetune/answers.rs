//! What a model answers.

use crate::engine::device::Device;
use crate::models::config::ModelConfig;
use crate::sample::batch::{BatchGenerator, Reply};
use crate::sample::reply::ReplyError;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::tokenizer::{Special, Tokenizer};

/// Prompts that are answered side by side.
pub const SIDE_BY_SIDE: usize = 32;

/// Tokens that a reply may have beyond twice those of the right answer: enough for every manner of saying it, and to
/// see that it is wrong.
const MORE: usize = 24;

/// The replies to what precedes each example's last answer, by the model whose parameters the device holds.
///
/// # Errors
/// When the strategy makes no sense, an example is longer than a block, or the device fails.
pub fn replies(
    device: &mut dyn Device,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    examples: &[Example],
    strategy: &Strategy,
    seed: u64,
) -> Result<Vec<String>, ReplyError> {
    let (prompts, wanted): (Vec<_>, Vec<_>) = examples.iter().map(Example::last_exchange).unzip();
    let most = 2 * wanted.iter().map(|answer| answer.len()).max().unwrap_or(0) + MORE;
    let mut generator = BatchGenerator::new(config.clone(), SIDE_BY_SIDE.min(examples.len()));
    let end = tokenizer.special(Special::End);
    let replies = generator.replies(device, &prompts, most, strategy, seed, end)?;
    Ok(replies.iter().map(|reply| text(reply, tokenizer)).collect())
}

/// What a reply says; an ellipsis shows that it did not end.
pub fn text(reply: &Reply, tokenizer: &Tokenizer) -> String {
    tokenizer.decode(reply.said()) + if reply.ended { "" } else { "…" }
}

/// The share of replies that are to the letter what their examples answer, ended where they end.
pub fn exact_match(examples: &[Example], replies: &[String], tokenizer: &Tokenizer) -> f64 {
    let right =
        |(example, reply): &(&Example, &String)| tokenizer.decode(example.last_exchange().1) == **reply;
    examples.iter().zip(replies).filter(right).count() as f64 / examples.len().max(1) as f64
}
