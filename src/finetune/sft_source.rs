//! Supervised fine-tuning (Ouyang et al. 2022): next-token prediction on conversations, of the answers alone.
//!
//! Conversations are [packed](crate::text::pack) into windows; each epoch goes through all of them once, in an
//! order of its own. Each answer token of a step counts the same, in whichever window or micro-step it stands.

use super::examples::examples_of_step;
use super::stage::OptionsError;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::text::chat::Example;
use crate::text::dataset::{Purpose, Split, batch_rng, below};
use crate::text::pack::{Window, pack};
use crate::train::source::{Batch, Source, SourceError};

/// Conversations to train on, and others for validation.
#[derive(Clone, Debug)]
pub struct SftSource {
    name: String,
    train: Vec<Window>,
    val: Vec<Window>,
    /// The most tokens of a window that are learned.
    most: usize,
    /// A question held out.
    prompt: Vec<u32>,
    seed: u64,
    batch_size: usize,
    n_micro: usize,
}

impl SftSource {
    /// Packs examples into windows of the model's block.
    pub fn new(
        name: &str,
        train: &[Example],
        val: &[Example],
        config: &TrainConfig,
        model: &ModelConfig,
    ) -> anyhow::Result<Self> {
        let Some(question) = val.first().filter(|_| !train.is_empty()) else {
            let (name, have) = (name.to_owned(), train.len() + val.len());
            return Err(OptionsError::TooFew { name, what: "conversations", have }.into());
        };
        let (train, val) =
            (pack(train, model.block_size, config.seed)?, pack(val, model.block_size, config.seed)?);
        let most = train.iter().chain(&val).map(|window| learned(window).count()).max().unwrap_or(0);
        Ok(Self {
            name: name.to_owned(),
            train,
            val,
            most,
            prompt: question.last_exchange().0.to_vec(),
            seed: config.seed,
            batch_size: config.batch_size,
            n_micro: config.grad_accum,
        })
    }

    /// The windows of a training step, those of all micro-steps in order.
    fn of_step(&self, step: u64) -> Vec<&Window> {
        let of_step = examples_of_step(self.train.len(), self.batch_size * self.n_micro, step, self.seed);
        of_step.into_iter().map(|at| &self.train[at]).collect()
    }

    /// Windows as rows of a batch, each answer token weighing `weight`.
    fn collate(&self, windows: &[&Window], weight: f32) -> Batch {
        let all = |field: fn(&Window) -> &[u32]| windows.iter().flat_map(|w| field(w)).copied().collect();
        let size = windows.len() * self.most;
        let (mut places, mut targets, mut weights) = (vec![0; size], vec![0; size], vec![0.0; size]);
        let mut first = 0;
        for (row, window) in windows.iter().enumerate() {
            for (slot, at) in learned(window).enumerate() {
                let slot = row * self.most + slot;
                (places[slot], targets[slot], weights[slot]) =
                    ((first + at) as u32, window.targets[at], weight);
            }
            first += window.tokens.len();
        }
        let (tokens, segments) = (all(|window| &window.tokens), Some(all(|window| &window.segments)));
        Batch { tokens, targets, weights, places: Some(places), segments, ..Batch::default() }
    }

    /// Windows of a split at random.
    fn at_random(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Vec<&Window> {
        let windows = if split == Split::Train { &self.train } else { &self.val };
        let mut rng = batch_rng(self.seed, purpose, step, micro);
        (0..self.batch_size).map(|_| &windows[below(windows.len(), &mut rng)]).collect()
    }
}

impl Source for SftSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        if purpose == Purpose::Estimating || split == Split::Val {
            let windows = self.at_random(split, purpose, step, micro);
            return Ok(self.collate(&windows, 1.0 / answer_tokens(&windows)));
        }
        let windows = self.of_step(step);
        // The trainer divides by the number of micro-steps.
        let weight = self.n_micro as f32 / answer_tokens(&windows);
        let first = micro as usize * self.batch_size;
        Ok(self.collate(&windows[first..first + self.batch_size], weight))
    }

    fn quantity(&self) -> &'static str {
        "loss (nats per token of the answers)"
    }

    fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    fn has_segments(&self) -> bool {
        true
    }

    fn places(&self) -> Option<usize> {
        Some(self.batch_size * self.most)
    }
}

/// How many tokens of windows are learned; every conversation has an answer.
fn answer_tokens(windows: &[&Window]) -> f32 {
    windows.iter().flat_map(|window| &window.weights).sum()
}

/// The places of a window whose targets are to be learned.
fn learned(window: &Window) -> impl Iterator<Item = usize> {
    window.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::examples::hold_out;
    use crate::run::presets;

    fn example(first: u32, prompt: usize, answer: usize) -> Example {
        let learned = (0..prompt + answer).map(|i| i >= prompt).collect();
        let tokens = (first..).take(prompt + answer).collect();
        Example { tokens, answer: learned, place: format!("x:{first}") }
    }

    /// 16 examples, two to a window of 8.
    fn source(grad_accum: usize) -> SftSource {
        let train: Vec<_> = (0..16).map(|i| example(1 + 10 * i, 3, 1 + i as usize % 2)).collect();
        let config = TrainConfig { batch_size: 2, grad_accum, ..presets::named("mini").unwrap() };
        let model = ModelConfig { block_size: 8, ..config.model(200) };
        SftSource::new("x", &train, &[example(170, 4, 2)], &config, &model).unwrap()
    }

    fn train(source: &SftSource, step: u64, micro: u64) -> Batch {
        source.batch(Split::Train, Purpose::Training, step, micro).unwrap()
    }

    #[test]
    fn every_answer_token_of_a_step_counts_the_same() {
        for n_micro in [1, 2] {
            let source = source(n_micro);
            let batches: Vec<_> = (0..n_micro as u64).map(|micro| train(&source, 3, micro)).collect();
            for batch in &batches {
                // The tokens of these examples count upwards.
                let places = batch.places.as_ref().unwrap().iter().zip(&batch.targets).zip(&batch.weights);
                let learned = places.filter(|(_, weight)| **weight > 0.0);
                learned.for_each(|((&at, &target), _)| assert_eq!(batch.tokens[at as usize] + 1, target));
            }
            let weights: Vec<f32> = batches.iter().flat_map(|batch| batch.weights.clone()).collect();
            let counted: Vec<f32> = weights.iter().copied().filter(|&weight| weight > 0.0).collect();
            assert!(counted.iter().all(|&weight| weight == counted[0]), "{counted:?}");
            assert!((counted.iter().sum::<f32>() - n_micro as f32).abs() < 1e-6);
        }
    }

    #[test]
    fn an_epoch_shows_every_window_once_and_the_next_in_another_order() {
        let source = source(1);
        let windows = source.train.len();
        let steps = windows / 2;
        let epoch = |first: usize| -> Vec<Vec<u32>> {
            let batches = (first..first + steps).map(|step| train(&source, step as u64, 0));
            batches.flat_map(|b| b.tokens.chunks(8).map(<[u32]>::to_vec).collect::<Vec<_>>()).collect()
        };
        let (first, second) = (epoch(0), epoch(steps));
        assert_ne!(first, second);
        let sorted = |mut rows: Vec<Vec<u32>>| {
            rows.sort();
            rows
        };
        let mut all: Vec<_> = source.train.iter().map(|window| window.tokens.clone()).collect();
        all.sort();
        assert_eq!((windows % 2, sorted(first), sorted(second)), (0, all.clone(), all));
    }

    #[test]
    fn a_question_is_a_prompt_and_every_tenth_is_held_out() {
        assert_eq!(source(1).prompt(), [170, 171, 172, 173]);
        let examples: Vec<_> = (0..25).map(|i| example(i, 2, 2)).collect();
        let (train, val) = hold_out(examples.clone());
        assert_eq!((train.len(), val.as_slice()), (23, &[examples[9].clone(), examples[19].clone()][..]));
    }

    #[test]
    fn too_few_and_too_long_are_named() {
        let config = presets::named("mini").unwrap();
        let model = ModelConfig { block_size: 8, ..config.model(200) };
        let new = |train: &[Example], val: &[Example]| {
            SftSource::new("chats.jsonl", train, val, &config, &model).unwrap_err().to_string()
        };
        let good = [example(1, 2, 2)];
        assert!(new(&[], &good).contains("chats.jsonl"));
        let nine = vec![example(1, 2, 2); 9];
        assert!(new(&nine, &[]).contains("too few conversations: 9, and 10 or more"), "{}", new(&nine, &[]));
        assert!(new(&good, &[example(7, 8, 2)]).contains("x:7"), "{}", new(&good, &[example(7, 8, 2)]));
    }
}
