//! How the next token is chosen, as flags.

use super::values::{MOST_TOKENS, whole};
use crate::sample::strategy::{Strategy, StrategyError};

#[derive(Debug, clap::Args)]
pub struct Sampling {
    /// Sampling temperature: below 1 sharpens the distribution, above 1 flattens it; 0 always takes the most likely
    /// token
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    temperature: f32,
    /// Keep only this many of the most likely tokens
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_TOKENS))]
    top_k: Option<usize>,
    /// Keep the most likely tokens whose probabilities sum to this, above 0 to 1
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Keep tokens with at least this share of the highest probability, 0 to 1
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divide the logits of tokens that are already in the context by this, above 0; 1 leaves them
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
}

impl Sampling {
    pub fn strategy(&self) -> Result<Strategy, StrategyError> {
        let Self { temperature, top_k, top_p, min_p, repetition_penalty } = *self;
        let strategy = Strategy { temperature, top_k, top_p, min_p, repetition_penalty };
        strategy.check()?;
        Ok(strategy)
    }
}
