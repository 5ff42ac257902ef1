//! What a model answers.

use crate::engine::device::Device;
use crate::models::config::ModelConfig;
use crate::sample::batch::{BatchGenerator, Progress, Reply};
use crate::sample::strategy::Strategy;
use crate::sample::writer::WriteError;
use crate::text::chat::Example;
use crate::text::tokenizer::Tokenizer;

/// Prompts that are answered side by side.
pub const SIDE_BY_SIDE: usize = 32;

/// Tokens that a reply may have beyond twice those of the right answer: enough for every manner of saying it, and to
/// see that it is wrong.
const MORE: usize = 24;

/// The replies to what precedes each example's last answer, by the model whose parameters the device holds.
pub fn answers(
    device: &mut dyn Device,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    examples: &[Example],
    strategy: &Strategy,
    seed: u64,
    progress: Progress,
) -> Result<Vec<Reply>, WriteError> {
    let (prompts, wanted): (Vec<_>, Vec<_>) = examples.iter().map(Example::last_exchange).unzip();
    let most = 2 * wanted.iter().map(|answer| answer.len()).max().unwrap_or(0) + MORE;
    let generator = BatchGenerator::new(config.clone(), SIDE_BY_SIDE.min(examples.len()));
    let mut generator = generator.with_progress(progress);
    let end = tokenizer.answer_end();
    generator.replies(device, &prompts, most, strategy, seed, end)
}

/// What these [`answers`] say.
pub fn replies(
    device: &mut dyn Device,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    examples: &[Example],
    strategy: &Strategy,
    seed: u64,
    progress: Progress,
) -> Result<Vec<String>, WriteError> {
    let replies = answers(device, config, tokenizer, examples, strategy, seed, progress)?;
    Ok(replies.iter().map(|reply| text(reply, tokenizer)).collect())
}

/// What a reply says; an ellipsis shows that it did not end.
pub fn text(reply: &Reply, tokenizer: &Tokenizer) -> String {
    tokenizer.decode(reply.said()) + if reply.ended { "" } else { "…" }
}

/// The share of replies that match the answers of their examples exactly, the end included.
pub fn exact_match(examples: &[Example], replies: &[String], tokenizer: &Tokenizer) -> f64 {
    let right =
        |(example, reply): &(&Example, &String)| tokenizer.decode(example.last_exchange().1) == **reply;
    examples.iter().zip(replies).filter(right).count() as f64 / examples.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::{ModelConfig, Position};
    use crate::sample::batch::tests::device;

    /// What a model says by itself is right, as long as it ends; anything else is wrong.
    #[test]
    fn answers_are_counted_that_are_right_to_the_letter_and_end() {
        let tokenizer = Tokenizer::from_name("char", "!ab\n").unwrap().with_chat();
        let end = tokenizer.answer_end().unwrap();
        // Without a table of positions, so that the weights are the same for any block.
        let config = ModelConfig {
            position: Position::Alibi,
            ..ModelConfig::gpt(tokenizer.vocab_size(), 30, 1, 2, 24)
        };
        let mut cpu = device::<f32>(&config);
        let mut generator = BatchGenerator::new(config.clone(), 3);
        let prompts: Vec<[u32; 3]> = (0..40).map(|i| [i % 7, i / 7, i % 5]).collect();
        let greedy = Strategy::greedy();
        let replies = generator.replies(&mut cpu, &prompts, 99, &greedy, 0, Some(end)).unwrap();
        let example = |prompt: &[u32], said: &[u32]| Example {
            tokens: [prompt, said, &[end]].concat(),
            answer: [vec![false; prompt.len()], vec![true; said.len() + 1]].concat(),
            place: String::new(),
        };
        let as_said = |(prompt, reply): (&[u32; 3], &Reply)| example(prompt, reply.said());
        let mut examples: Vec<Example> = prompts.iter().zip(&replies).map(as_said).collect();
        let ended = replies.iter().filter(|reply| reply.ended).count();
        let texts: Vec<String> = replies.iter().map(|reply| text(reply, &tokenizer)).collect();
        let share = |examples: &[Example]| exact_match(examples, &texts[..examples.len()], &tokenizer);
        assert_eq!(share(&examples), ended as f64 / 40.0);
        let at = replies.iter().position(|reply| reply.ended && !reply.said().is_empty()).unwrap();

        // The same letters without an end: there is no room for it.
        let short = ModelConfig { block_size: 3 + replies[at].said().len() - 1, ..config };
        let mut cpu = device::<f32>(&short);
        let one = &examples[at..=at];
        let said = super::replies(&mut cpu, &short, &tokenizer, one, &greedy, 0, &mut |_, _| ()).unwrap();
        assert_eq!(said, [tokenizer.decode(replies[at].said()) + "…"]);
        assert_eq!(exact_match(one, &said, &tokenizer), 0.0);

        examples[at] = example(&prompts[at], &[replies[at].said(), &[1]].concat());
        assert_eq!(share(&examples), (ended - 1) as f64 / 40.0);
        assert_eq!(share(&[]), 0.0);
    }
}
