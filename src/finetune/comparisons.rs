//! Pairs of answers to learn from: those of a file, or about the Tales world.

use std::path::Path;

use rayon::prelude::*;

use super::lessons::LONGEST_QUESTION;
use super::pairs::hold_out;
use crate::run::config::TrainConfig;
use crate::text::chat::ChatError;
use crate::text::corpus::{TALES, TALES_SEED};
use crate::text::preferences::{EncodedPair, Pair, encode_pair, read};
use crate::text::tales::{Part, Tales};
use crate::text::tokenizer::Tokenizer;

/// The most pairs about tales to learn from, and others to judge by.
pub const TALES_PAIRS: usize = 20_000;
pub const TALES_PAIRS_HELD_OUT: usize = 300;

/// Pairs as tokens, in two parts.
#[derive(Clone, Debug)]
pub struct Comparisons {
    /// What errors and titles call them.
    pub name: String,
    pub train: Vec<EncodedPair>,
    pub held_out: Vec<EncodedPair>,
}

impl Comparisons {
    /// The pairs of a `.jsonl`, every tenth held out.
    ///
    /// # Errors
    /// When the file cannot be read, a line is no pair or longer than a block, or the tokenizer lacks a character.
    pub fn of_file(path: &Path, block_size: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let (train, held_out) = hold_out(encoded(&read(path)?, block_size, tokenizer)?);
        Ok(Self { name: path.display().to_string(), train, held_out })
    }

    /// As many pairs about tales as `config` learns from, up to [`TALES_PAIRS`], and `held_out` others with questions
    /// and answers that are in none of these.
    ///
    /// # Errors
    /// When a block does not hold a pair, or the tokenizer lacks the chat tokens or a character.
    pub fn of_tales(config: &TrainConfig, held_out: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let (world, block_size) = (Tales::new(), config.model.block_size);
        let train = (config.steps as usize).saturating_mul(config.examples_per_step()).clamp(1, TALES_PAIRS);
        let pairs = |count, part| {
            encoded(&world.preferences(TALES_SEED, count, part, LONGEST_QUESTION), block_size, tokenizer)
        };
        let (train, held_out) = (pairs(train, Part::Train)?, pairs(held_out, Part::HeldOut)?);
        Ok(Self { name: TALES.to_owned(), train, held_out })
    }

    /// Leaves out all but so many pairs of each part.
    pub fn keep(&mut self, pairs: usize) {
        self.train.truncate(pairs);
        self.held_out.truncate(pairs);
    }
}

fn encoded(pairs: &[Pair], block_size: usize, tokenizer: &Tokenizer) -> Result<Vec<EncodedPair>, ChatError> {
    let each: Vec<_> = pairs.par_iter().map(|pair| encode_pair(pair, tokenizer, block_size)).collect();
    // Of several errors the first.
    each.into_iter().collect()
}
