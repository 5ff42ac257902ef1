//! Replies to many prompts at once: streams side by side, so that a step reads every weight once for all of them.
//!
//! The streams of a batch stand at the same position at every step. Each reads the next token of its prompt while that
//! lasts, and then what it said last: prompts of different lengths need neither padding nor masks. Only what all of
//! them have, the length of the shortest prompt, is read in larger portions.

use std::collections::HashMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::generator::{GenerateError, known};
use super::strategy::{Sampler, Strategy, StrategyError};
use super::writer::WriteError;
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::{Architecture, ModelConfig};
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;

/// What was said after a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// With the end token, if it came: a model in training learns to say it like any other.
    pub tokens: Vec<u32>,
    /// Of each token the logarithm of its probability as the model has it, whatever the strategy made of it.
    pub log_probs: Vec<f32>,
    /// Whether the end token came. Else there were as many tokens as asked for, or the block was full.
    pub ended: bool,
}

impl Reply {
    /// The tokens before the end.
    pub fn said(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - usize::from(self.ended)]
    }

    /// The prompt with what was said, and `end` even where it did not come.
    pub fn ended_after(&self, prompt: &[u32], end: Option<u32>) -> Vec<u32> {
        prompt.iter().chain(self.said()).copied().chain(end).collect()
    }
}

/// Replies to prompts by a Transformer whose parameters the device holds.
pub struct BatchGenerator<'a> {
    config: ModelConfig,
    batch_size: usize,
    /// By the number of new tokens of each stream.
    plans: HashMap<usize, PlanId>,
    progress: Option<Progress<'a>>,
}

/// Called with how many replies there are so far, and how many there are to be.
pub type Progress<'a> = &'a mut (dyn FnMut(usize, usize) + Send);

/// The most tokens of each prompt that are read at once.
const PORTION: usize = 64;

/// The plan that reads `n` new tokens of each of `batch_size` streams: input `tokens` (batch_size, n), phase
/// `decode`; after a single token, result [logits (batch_size, vocab_size)].
pub fn batch_plan(config: &ModelConfig, batch_size: usize, n: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("decode");
    let tokens = tape.input("tokens", Spec::u32([batch_size, n]));
    let backbone = backbone(&mut tape, config, ModelInputs { tokens, segments: None }, Pass::Decode)?;
    let logits = (n == 1).then(|| backbone.logits(&mut tape, 0, batch_size)).transpose()?;
    tape.fuse_single_rows(logits.as_slice())?;
    Plan::new(&tape, logits.as_slice())
}

/// One prompt and the reply to it.
struct Stream {
    /// The prompt, and the reply so far.
    text: Vec<u32>,
    prompt: usize,
    /// As long as the text may become.
    full: usize,
    log_probs: Vec<f32>,
    ended: bool,
    sampler: Sampler,
    rng: ChaCha8Rng,
}

impl Stream {
    fn is_done(&self) -> bool {
        self.ended || self.text.len() >= self.full
    }

    /// Samples the next token.
    fn say(&mut self, logits: &[f32], end: Option<u32>) -> Result<(), StrategyError> {
        let token = self.sampler.next(logits, &self.text[self.prompt..], &mut self.rng)?;
        self.log_probs.push(log_probability(logits, token));
        self.text.push(token);
        self.ended = Some(token) == end;
        Ok(())
    }

    fn into_reply(mut self) -> Reply {
        Reply { tokens: self.text.split_off(self.prompt), log_probs: self.log_probs, ended: self.ended }
    }
}

/// log softmax(logits) at `token`.
fn log_probability(logits: &[f32], token: u32) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    (f64::from(logits[token as usize] - largest) - sum.ln()) as f32
}

impl<'a> BatchGenerator<'a> {
    /// `batch_size` streams at a time. Their keys and values stay on the device, the same for all generators of as
    /// many streams.
    pub fn new(config: ModelConfig, batch_size: usize) -> Self {
        Self { config, batch_size: batch_size.max(1), plans: HashMap::new(), progress: None }
    }

    /// Calls `progress` before each batch of replies.
    pub fn with_progress(self, progress: Progress<'a>) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// A reply to each of `prompts`, of at most `most` tokens and as many as a block has room for: what is read fills
    /// a block at most, and one token follows it. A reply stops after `end`.
    ///
    /// Stream i draws from the i-th random stream of `seed`, so that a reply does not depend on the others.
    /// The strategy's repetition penalty is for what the reply said before.
    pub fn replies(
        &mut self,
        device: &mut dyn Device,
        prompts: &[impl AsRef<[u32]>],
        most: usize,
        strategy: &Strategy,
        seed: u64,
        end: Option<u32>,
    ) -> Result<Vec<Reply>, WriteError> {
        let prompts: Vec<&[u32]> = prompts.iter().map(AsRef::as_ref).collect();
        self.check(&prompts)?;
        let sampler = Sampler::new(strategy.clone())?;
        let stream = |&number: &usize| {
            let prompt = prompts[number];
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number as u64);
            Stream {
                text: prompt.to_vec(),
                prompt: prompt.len(),
                full: prompt.len().saturating_add(most).min(self.config.block_size + 1),
                log_probs: Vec::new(),
                ended: false,
                sampler: sampler.clone(),
                rng,
            }
        };
        // Prompts of like lengths go together: the shortest waits for the longest.
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&number| prompts[number].len());
        let batches: Vec<Vec<Stream>> =
            order.chunks(self.batch_size).map(|batch| batch.iter().map(stream).collect()).collect();
        let mut replies = vec![Reply::default(); prompts.len()];
        let mut numbers = order.into_iter();
        for mut batch in batches {
            if let Some(progress) = &mut self.progress {
                progress(prompts.len() - numbers.len(), prompts.len());
            }
            self.run(device, &mut batch, end)?;
            for (stream, number) in batch.into_iter().zip(&mut numbers) {
                replies[number] = stream.into_reply();
            }
        }
        Ok(replies)
    }

    fn check(&self, prompts: &[&[u32]]) -> Result<(), GenerateError> {
        self.config.predicts_next()?;
        let Self { config: ModelConfig { architecture, block_size, .. }, .. } = *self;
        if architecture != Architecture::Transformer {
            return Err(GenerateError::NotSideBySide(architecture));
        }
        for (number, prompt) in prompts.iter().enumerate() {
            known(&self.config, prompt)?;
            match prompt.len() {
                0 => return Err(GenerateError::NoPrompt),
                tokens if tokens > block_size => {
                    return Err(GenerateError::TooLong { number: number + 1, tokens, block_size });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Generates the replies of one batch.
    fn run(
        &mut self,
        device: &mut dyn Device,
        streams: &mut [Stream],
        end: Option<u32>,
    ) -> Result<(), WriteError> {
        let shortest = streams.iter().map(|stream| stream.text.len()).min().unwrap_or(0);
        // What a few thousand logits take is done before another thread would have woken up.
        let (vocab_size, least) = (self.config.vocab_size, 8192usize.div_ceil(self.config.vocab_size));
        let (mut position, n_tokens) = (0, self.config.n_tokens());
        while !streams.iter().all(Stream::is_done) {
            // In powers of two, so that a few plans serve all lengths. The last token comes alone: it is the first
            // whose logits are needed.
            let together = shortest.saturating_sub(position + 1).min(PORTION);
            let n = 1 << together.max(1).ilog2();
            let logits = self.read(device, streams, position, n)?;
            position += n;
            streams
                .par_iter_mut()
                .zip(logits.par_chunks_exact(vocab_size))
                .with_min_len(least)
                .filter(|(stream, _)| stream.text.len() == position && !stream.is_done())
                .try_for_each(|(stream, logits)| stream.say(&logits[..n_tokens], end))?;
        }
        Ok(())
    }

    /// Reads `n` tokens of each stream from `position` on, and gives the logits after a single one.
    fn read(
        &mut self,
        device: &mut dyn Device,
        streams: &[Stream],
        position: usize,
        n: usize,
    ) -> Result<Vec<f32>, GenerateError> {
        // Those that are done, and places that no stream takes, read anything.
        let token = |stream: usize, at: usize| {
            streams.get(stream).and_then(|stream| stream.text.get(at)).copied().unwrap_or(0)
        };
        let tokens: Vec<u32> = (0..self.batch_size)
            .flat_map(|stream| (position..position + n).map(move |at| token(stream, at)))
            .collect();
        let plan = match self.plans.get(&n) {
            Some(&plan) => plan,
            None => {
                let plan = device.load(&Arc::new(batch_plan(&self.config, self.batch_size, n)?), 0)?;
                *self.plans.entry(n).or_insert(plan)
            }
        };
        device.set_input(plan, "tokens", HostData::U32(&tokens))?;
        device.run(plan, 0, &Step { position: position as u32, ..Step::default() })?;
        if n > 1 {
            return Ok(Vec::new());
        }
        let mut results = device.results(true)?.unwrap_or_default();
        results.pop().ok_or_else(|| DeviceError::Gpu("decoding gave no logits".into()).into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
