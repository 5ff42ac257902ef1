//! Batches of pairs of answers: for reward models, and for policies that learn to prefer the better one.

use super::examples::examples_of_step;
use super::preference_dataset::{PreferenceDataset, both, longest};
use super::scorer::{Scorer, Scores};
use super::stage::{Context, OptionsError, Setup};
use crate::engine::device::Device;
use crate::objective::inputs::Input;
use crate::objective::{BatchShape, Objective};
use crate::run::config::TrainConfig;
use crate::sample::batch::Progress;
use crate::text::chat::Example;
use crate::text::dataset::{Purpose, Split};
use crate::text::preferences::EncodedPair;
use crate::train::source::{Batch, Measures, Source, SourceError};
use crate::train::trainer::TrainError;

/// Pairs to train on, and others for validation.
#[derive(Clone, Debug)]
pub struct PairSource {
    name: String,
    objective: Objective,
    train: Vec<Compared>,
    val: Vec<Compared>,
    time: usize,
    /// The most places of an answer that are read.
    most: usize,
    prompt: Vec<u32>,
    seed: u64,
    batch_size: usize,
    n_micro: usize,
}

/// A pair and its difference under the reference.
#[derive(Clone, Debug)]
struct Compared {
    pair: EncodedPair,
    /// To be subtracted from the policy's difference.
    reference: f32,
}

/// The places that predict the tokens of an answer.
fn predictions(example: &Example) -> impl Iterator<Item = usize> {
    example.answer_places().map(|at| at - 1)
}

/// What each token of an example counts for in a difference, at the place that predicts it or, for a reward, at its
/// own.
fn shares(objective: &Objective, example: &Example) -> Vec<(usize, f32)> {
    match objective.token_share(example.answer_places().count()) {
        Some(share) => predictions(example).map(|at| (at, -share)).collect(),
        None => example.end().map(|end| (end, 1.0)).into_iter().collect(),
    }
}

/// The places of an example that the objective reads: where its answer's tokens are predicted, and for a reward also
/// where it ends.
fn places(objective: &Objective, example: &Example) -> Vec<usize> {
    let end = if objective.token_share(1).is_none() { example.end() } else { None };
    predictions(example).chain(end).collect()
}

impl PairSource {
    /// Pairs for an objective that has no reference.
    pub fn without_reference(
        objective: Objective,
        dataset: PreferenceDataset,
        config: &TrainConfig,
    ) -> Result<Self, OptionsError> {
        let compare = |pairs: Vec<EncodedPair>| -> Vec<Compared> {
            pairs.into_iter().map(|pair| Compared { pair, reference: 0.0 }).collect()
        };
        let PreferenceDataset { name, train, held_out } = dataset;
        Self::new(name, objective, compare(train), compare(held_out), config)
    }

    /// Pairs for a policy whose reference is `base`, written to the parameters in training: it scores the pairs once,
    /// and is not needed afterwards.
    pub fn against_base(
        objective: Objective,
        dataset: PreferenceDataset,
        setup: &Setup,
        context: &mut Context,
    ) -> anyhow::Result<Self> {
        let time = longest(&dataset.train).max(longest(&dataset.held_out));
        let sizes = [2 * setup.config.batch_size, time];
        let reference = setup.reference(sizes, context)?;
        let Context { device, progress, .. } = context;
        Self::for_preferences(objective, dataset, &setup.config, *device, &reference, &mut **progress)
    }

    /// The same with a `reference` whose weights the device holds.
    pub fn for_preferences(
        objective: Objective,
        dataset: PreferenceDataset,
        config: &TrainConfig,
        device: &mut dyn Device,
        reference: &Scorer,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let mut compare = |pairs: Vec<EncodedPair>| -> Result<Vec<Compared>, TrainError> {
            let both = both(&pairs);
            let scores = reference.score_with_progress(device, &both, &mut *progress)?;
            let difference = |(pair, scores): (EncodedPair, &[Scores])| {
                let sum = |example: &Example, nll: &[f32]| -> f32 {
                    shares(&objective, example).iter().map(|&(at, share)| share * nll[at]).sum()
                };
                let reference = sum(&pair.chosen, &scores[0].nll) - sum(&pair.rejected, &scores[1].nll);
                Compared { pair, reference }
            };
            Ok(pairs.into_iter().zip(scores.chunks(2)).map(difference).collect())
        };
        let PreferenceDataset { name, train, held_out } = dataset;
        let (train, val) = (compare(train)?, compare(held_out)?);
        Ok(Self::new(name, objective, train, val, config)?)
    }

    fn new(
        name: String,
        objective: Objective,
        train: Vec<Compared>,
        val: Vec<Compared>,
        config: &TrainConfig,
    ) -> Result<Self, OptionsError> {
        let Some(first) = val.first().filter(|_| !train.is_empty()) else {
            return Err(OptionsError::TooFew { name, what: "pairs", have: train.len() + val.len() });
        };
        let all =
            train.iter().chain(&val).flat_map(|compared| [&compared.pair.chosen, &compared.pair.rejected]);
        Ok(Self {
            name,
            objective,
            time: all.clone().map(|example| example.tokens.len()).max().unwrap_or(1),
            most: all.map(|example| places(&objective, example).len()).max().unwrap_or(1),
            prompt: first.pair.chosen.last_exchange().0.to_vec(),
            train,
            val,
            seed: config.seed,
            batch_size: config.batch_size,
            n_micro: config.grad_accum,
        })
    }

    fn collate(&self, pairs: &[&Compared]) -> Batch {
        let width = 2 * pairs.len() * self.most;
        let shape = BatchShape { sequences: 2 * pairs.len(), predictions: width };
        let mut batch = Batch::zeros(&self.objective, shape, self.time);
        batch.weights.fill(1.0 / pairs.len() as f32);
        let mut read = vec![0; width];
        for (row, compared) in pairs.iter().enumerate() {
            batch.put(Input::Offsets, row, &[-compared.reference]);
            for (half, sign) in [(0, 1.0), (1, -1.0)] {
                let example = if half == 0 { &compared.pair.chosen } else { &compared.pair.rejected };
                let [first, slots] = [self.time, self.most].map(|each| (2 * row + half) * each);
                batch.tokens[first..][..example.tokens.len()].copy_from_slice(&example.tokens);
                let of_example = places(&self.objective, example);
                for (slot, &at) in (slots..).zip(&of_example) {
                    read[slot] = (first + at) as u32;
                    // A reward without demonstrations has no targets.
                    if let Some(target) = batch.targets.get_mut(slot) {
                        *target = example.tokens.get(at + 1).copied().unwrap_or(0);
                    }
                }
                // The places are in order, and hold those of all shares.
                let slot = |at| row * width + slots + of_example.partition_point(|&place| place < at);
                for (at, share) in shares(&self.objective, example) {
                    batch.put(Input::Pairs, slot(at), &[sign * share]);
                }
                if half == 0 {
                    let share = self.objective.sft_weight() / example.answer_places().count() as f32;
                    predictions(example).for_each(|at| batch.put(Input::Demonstrations, slot(at), &[share]));
                }
            }
        }
        batch.places = Some(read);
        batch
    }
}

impl Source for PairSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        let size = self.batch_size;
        let chosen: Vec<&Compared> = match (split, purpose) {
            (Split::Train, Purpose::Training) => {
                let of_step = examples_of_step(self.train.len(), size * self.n_micro, step, self.seed);
                of_step[micro as usize * size..][..size].iter().map(|&at| &self.train[at]).collect()
            }
            // One after the other, so that enough of them see every pair that is held out.
            _ => {
                let pairs = if split == Split::Train { &self.train } else { &self.val };
                (0..size).map(|i| &pairs[(step as usize * size + i) % pairs.len()]).collect()
            }
        };
        Ok(self.collate(&chosen))
    }

    fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    fn objective(&self) -> Objective {
        self.objective
    }

    fn time(&self) -> Option<usize> {
        Some(self.time)
    }

    fn places(&self) -> Option<usize> {
        Some(2 * self.batch_size * self.most)
    }

    /// How often the better answer is ahead, and by how much.
    fn measures(&self, _batch: &Batch, outputs: &[Vec<f32>]) -> Measures {
        let Some(margins) = outputs.first() else { return Vec::new() };
        let n = margins.len() as f64;
        let ahead = margins.iter().filter(|&&margin| margin > 0.0).count() as f64;
        let margin = margins.iter().map(|&margin| f64::from(margin)).sum::<f64>();
        vec![("accuracy", ahead / n), ("margin", margin / n)]
    }
}
