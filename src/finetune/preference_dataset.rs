//! Pairs of a better and a worse answer: those of a file, or about the Tales world.

use std::path::Path;

use rayon::prelude::*;

use super::examples::hold_out;
use super::questions::LONGEST_QUESTION;
use super::stage::Setup;
use crate::run::config::TrainConfig;
use crate::text::chat::ChatError;
use crate::text::corpus::{TALES, TALES_SEED};
use crate::text::preferences::{EncodedPair, Pair, encode_pair, read};
use crate::text::tales::{Part, Tales};
use crate::text::tokenizer::Tokenizer;

/// The most pairs about tales to train on.
const TALES_PAIRS: usize = 20_000;

/// Pairs as tokens, in two parts.
#[derive(Clone, Debug, Default)]
pub struct PreferenceDataset {
    /// For errors and titles.
    pub name: String,
    pub train: Vec<EncodedPair>,
    pub held_out: Vec<EncodedPair>,
}

impl PreferenceDataset {
    /// The pairs of `--data`: about tales, or those of a file.
    pub fn load(data: &str, Setup { config, tokenizer, held_out, .. }: &Setup) -> Result<Self, ChatError> {
        match data {
            TALES => Self::of_tales(config, *held_out, tokenizer),
            path => Self::of_file(Path::new(path), config.model.block_size, tokenizer),
        }
    }

    /// The pairs of a `.jsonl`, every tenth held out.
    fn of_file(path: &Path, block_size: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let pairs = encoded(&read(path)?, block_size, tokenizer)?;
        Ok(Self::hold_out(&path.display().to_string(), pairs))
    }

    /// Every tenth of `pairs` held out.
    pub fn hold_out(name: &str, pairs: Vec<EncodedPair>) -> Self {
        let (train, held_out) = hold_out(pairs);
        Self { name: name.to_owned(), train, held_out }
    }

    /// How many tokens there are for training and for validation.
    pub fn tokens(&self) -> [usize; 2] {
        let tokens = |pair: &EncodedPair| pair.chosen.tokens.len() + pair.rejected.tokens.len();
        [&self.train, &self.held_out].map(|pairs| pairs.iter().map(tokens).sum())
    }

    /// As many pairs about tales as `config` learns from, up to [`TALES_PAIRS`], and `held_out` others with questions
    /// and answers that are in none of these.
    fn of_tales(config: &TrainConfig, held_out: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let (world, block_size) = (Tales::new(), config.model.block_size);
        let train = (config.steps as usize).saturating_mul(config.examples_per_step()).clamp(1, TALES_PAIRS);
        let pairs = |count, part| {
            encoded(&world.preferences(TALES_SEED, count, part, LONGEST_QUESTION), block_size, tokenizer)
        };
        let (train, held_out) = (pairs(train, Part::Train)?, pairs(held_out, Part::HeldOut)?);
        Ok(Self { name: TALES.to_owned(), train, held_out })
    }

    /// Drops all but so many pairs of each part.
    pub fn truncate(&mut self, pairs: usize) {
        self.train.truncate(pairs);
        self.held_out.truncate(pairs);
    }
}

/// The longest answer with its prompt, in tokens.
pub fn longest(pairs: &[EncodedPair]) -> usize {
    let both = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
    both.map(|example| example.tokens.len()).max().unwrap_or(1)
}

/// The chosen and the rejected answers of pairs in turn, each with its prompt.
pub fn both(pairs: &[EncodedPair]) -> Vec<&[u32]> {
    pairs.iter().flat_map(|pair| [&pair.chosen.tokens[..], &pair.rejected.tokens[..]]).collect()
}

fn encoded(pairs: &[Pair], block_size: usize, tokenizer: &Tokenizer) -> Result<Vec<EncodedPair>, ChatError> {
    let each: Vec<_> = pairs.par_iter().map(|pair| encode_pair(pair, tokenizer, block_size)).collect();
    // Of several errors the first.
    each.into_iter().collect()
}
