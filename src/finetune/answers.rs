//! What a model answers.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::engine::device::Device;
use crate::sample::load::Model;
use crate::sample::reply::ReplyError;
use crate::sample::strategy::{Sampler, Strategy};
use crate::text::chat::Example;
use crate::text::tokenizer::Tokenizer;

/// Tokens that a reply may have beyond twice those of the right answer: enough for every manner of saying it, and to
/// see that it is wrong.
const MORE: usize = 24;

/// The reply to what precedes each example's last answer.
///
/// # Errors
/// When the strategy makes no sense, or the device fails.
pub fn replies(
    device: &mut dyn Device,
    model: &mut Model,
    examples: &[Example],
    strategy: &Strategy,
    seed: u64,
) -> Result<Vec<String>, ReplyError> {
    let mut sampler = Sampler::new(strategy.clone())?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut reply = |example: &Example| {
        let (prompt, wanted) = example.last_exchange();
        let most = 2 * wanted.len() + MORE;
        let said = model.reply(device, prompt, most, &mut sampler, &mut rng, &mut |_| Ok(()))?;
        Ok(model.tokenizer.decode(&said))
    };
    examples.iter().map(&mut reply).collect()
}

/// The share of replies that are to the letter what their examples answer, ended where they end.
pub fn exact_match(examples: &[Example], replies: &[String], tokenizer: &Tokenizer) -> f64 {
    let right =
        |(example, reply): &(&Example, &String)| tokenizer.decode(example.last_exchange().1) == **reply;
    examples.iter().zip(replies).filter(right).count() as f64 / examples.len().max(1) as f64
}
