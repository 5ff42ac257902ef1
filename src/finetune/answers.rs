//! How many questions a model answers to the letter.

use crate::engine::device::Device;
use crate::sample::batch::{BatchGenerator, Reply};
use crate::sample::reply::ReplyError;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::tokenizer::{Special, Tokenizer};

/// Examples that are answered side by side.
pub const SIDE_BY_SIDE: usize = 32;

impl Example {
    /// What precedes the assistant's last answer, and that answer without its end.
    pub fn last_exchange(&self) -> (&[u32], &[u32]) {
        let end = self.tokens.len().saturating_sub(1);
        let start = self.answer.iter().rposition(|&learned| !learned).map_or(0, |last| last + 1);
        (&self.tokens[..start], &self.tokens[start..end.max(start)])
    }
}

/// The likeliest replies to what precedes each example's last answer, at most twice as long as the longest of these
/// answers and a few tokens more: enough to see that one is wrong.
///
/// # Errors
/// When that of an example is longer than a block, or the device fails.
pub fn answers(
    device: &mut dyn Device,
    generator: &mut BatchGenerator,
    tokenizer: &Tokenizer,
    examples: &[Example],
) -> Result<Vec<Reply>, ReplyError> {
    let (prompts, wanted): (Vec<_>, Vec<_>) = examples.iter().map(Example::last_exchange).unzip();
    let most = 2 * wanted.iter().map(|answer| answer.len()).max().unwrap_or(0) + 8;
    let greedy = Strategy { temperature: 0.0, ..Strategy::default() };
    // Greedy choices draw nothing.
    generator.replies(device, &prompts, most, &greedy, 0, tokenizer.special(Special::End))
}

/// The share of `examples` whose last answer the model gives exactly, ended where it ends.
///
/// # Errors
/// As [`answers`].
pub fn exact_match(
    device: &mut dyn Device,
    generator: &mut BatchGenerator,
    tokenizer: &Tokenizer,
    examples: &[Example],
) -> Result<f64, ReplyError> {
    let replies = answers(device, generator, tokenizer, examples)?;
    let is_right = |(example, reply): &(&Example, &Reply)| {
        reply.ended && tokenizer.decode(reply.said()) == tokenizer.decode(example.last_exchange().1)
    };
    let right = examples.iter().zip(&replies).filter(is_right).count();
    Ok(right as f64 / examples.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::{ModelConfig, Position};
    use crate::sample::batch::tests::device;

    #[test]
    fn the_last_answer_ends_before_its_end() {
        let answer = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1].map(|learned| learned == 1).to_vec();
        let example = Example { tokens: (10..20).collect(), answer, place: String::new() };
        let (prompt, wanted) = example.last_exchange();
        assert_eq!((prompt, wanted), (&[10, 11, 12, 13, 14, 15, 16][..], &[17, 18][..]));
    }

    /// What a model says by itself is right, as long as it ends; anything else is wrong.
    #[test]
    fn answers_are_counted_that_are_right_to_the_letter_and_end() {
        let tokenizer = Tokenizer::from_name("char", "!ab\n").unwrap().with_chat();
        let end = tokenizer.special(Special::End).unwrap();
        // Without a table of positions, so that the weights are the same for any block.
        let config = ModelConfig {
            position: Position::Alibi,
            ..ModelConfig::gpt(tokenizer.vocab_size(), 30, 1, 2, 24)
        };
        let mut cpu = device::<f32>(&config);
        let mut generator = BatchGenerator::new(config.clone(), 3);
        let prompts: Vec<[u32; 3]> = (0..40).map(|i| [i % 7, i / 7, i % 5]).collect();
        let greedy = Strategy { temperature: 0.0, ..Strategy::default() };
        let replies = generator.replies(&mut cpu, &prompts, 99, &greedy, 0, Some(end)).unwrap();
        let example = |prompt: &[u32], said: &[u32]| Example {
            tokens: [prompt, said, &[end]].concat(),
            answer: [vec![false; prompt.len()], vec![true; said.len() + 1]].concat(),
            place: String::new(),
        };
        let as_said = |(prompt, reply): (&[u32; 3], &Reply)| example(prompt, reply.said());
        let mut examples: Vec<Example> = prompts.iter().zip(&replies).map(as_said).collect();
        let ended = replies.iter().filter(|reply| reply.ended).count();
        let mut share =
            |examples: &[Example]| exact_match(&mut cpu, &mut generator, &tokenizer, examples).unwrap();
        assert_eq!(share(&examples), ended as f64 / 40.0);
        let at = replies.iter().position(|reply| reply.ended && !reply.said().is_empty()).unwrap();

        // The same letters without an end: there is no room for it.
        let short = ModelConfig { block_size: 3 + replies[at].said().len() - 1, ..config };
        let (mut cpu, mut cut) = (device::<f32>(&short), BatchGenerator::new(short, 1));
        let one = &examples[at..=at];
        let answer = answers(&mut cpu, &mut cut, &tokenizer, one).unwrap().remove(0);
        assert_eq!((answer.tokens.as_slice(), answer.ended), (replies[at].said(), false));
        assert_eq!(exact_match(&mut cpu, &mut cut, &tokenizer, one).unwrap(), 0.0);

        examples[at] = example(&prompts[at], &[replies[at].said(), &[1]].concat());
        assert_eq!(share(&examples), (ended - 1) as f64 / 40.0);
        assert_eq!(share(&[]), 0.0);
    }
}
