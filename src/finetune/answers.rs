//! How many questions a model answers to the letter.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::engine::device::Device;
use crate::sample::load::Model;
use crate::sample::reply::ReplyError;
use crate::sample::strategy::{Sampler, Strategy};
use crate::text::chat::Example;

impl Example {
    /// What precedes the assistant's last answer, and that answer without its end.
    pub fn last_exchange(&self) -> (&[u32], &[u32]) {
        let end = self.tokens.len().saturating_sub(1);
        let start = self.answer.iter().rposition(|&learned| !learned).map_or(0, |last| last + 1);
        (&self.tokens[..start], &self.tokens[start..end.max(start)])
    }
}

/// The likeliest reply to what precedes an example's last answer, at most twice as long as that answer and a few
/// tokens more: enough to see that it is wrong.
///
/// # Errors
/// When the device fails.
pub fn answer(device: &mut dyn Device, model: &mut Model, example: &Example) -> Result<String, ReplyError> {
    let (prompt, wanted) = example.last_exchange();
    let mut greedy = Sampler::new(Strategy { temperature: 0.0, ..Strategy::default() })?;
    // Greedy choices draw nothing.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let most = 2 * wanted.len() + 8;
    let said = model.reply(device, prompt, most, &mut greedy, &mut rng, &mut |_| Ok(()))?;
    Ok(model.tokenizer.decode(&said))
}

/// The share of `examples` whose last answer the model gives exactly, ended where it ends.
///
/// # Errors
/// When the device fails.
pub fn exact_match(
    device: &mut dyn Device,
    model: &mut Model,
    examples: &[Example],
) -> Result<f64, ReplyError> {
    let mut right = 0;
    for example in examples {
        let wanted = model.tokenizer.decode(example.last_exchange().1);
        right += usize::from(answer(device, model, example)? == wanted);
    }
    Ok(right as f64 / examples.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_ends_before_its_end() {
        let answer = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1].map(|learned| learned == 1).to_vec();
        let example = Example { tokens: (10..20).collect(), answer, place: String::new() };
        let (prompt, wanted) = example.last_exchange();
        assert_eq!((prompt, wanted), (&[10, 11, 12, 13, 14, 15, 16][..], &[17, 18][..]));
    }
}
