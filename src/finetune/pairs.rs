//! Pairs of answers to learn from: for reward models, and for policies that are to prefer the better one.

use super::epochs::examples_of_step;
use super::reader::{Reader, ReaderError};
use crate::engine::device::Device;
use crate::objective::Objective;
use crate::objective::preference::Preference;
use crate::objective::reward::Reward;
use crate::run::config::TrainConfig;
use crate::sample::batch::Progress;
use crate::text::chat::Example;
use crate::text::dataset::{Purpose, Split};
use crate::text::preferences::EncodedPair;
use crate::train::source::{Batch, Measures, Source};

/// Every so many pairs of a file, one is held out.
const HELD_OUT_OF: usize = 10;

/// Pairs to learn from, and others to judge by.
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

/// A pair, and what the reference says of it.
#[derive(Clone, Debug)]
struct Compared {
    pair: EncodedPair,
    /// Its difference under the reference, to be taken off the policy's.
    reference: f32,
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    #[error(
        "{name} has too few pairs: {have}, and {HELD_OUT_OF} or more are needed, as every tenth is held out to judge by"
    )]
    TooFew { name: String, have: usize },
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// Every tenth of `pairs` held out, as (train, val).
pub fn hold_out(pairs: Vec<EncodedPair>) -> (Vec<EncodedPair>, Vec<EncodedPair>) {
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for (i, pair) in pairs.into_iter().enumerate() {
        if i % HELD_OUT_OF == HELD_OUT_OF - 1 { val.push(pair) } else { train.push(pair) }
    }
    (train, val)
}

/// The most tokens of an answer with its prompt.
pub fn longest(pairs: &[EncodedPair]) -> usize {
    let both = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
    both.map(|example| example.tokens.len()).max().unwrap_or(1)
}

/// The places that predict the tokens of an answer.
fn predictions(example: &Example) -> impl Iterator<Item = usize> {
    example.answer_places().map(|at| at - 1)
}

/// What each token of an example counts for in a difference, at the place that predicts it or, for a reward, at its
/// own.
fn shares(objective: &Objective, example: &Example) -> Vec<(usize, f32)> {
    match objective {
        Objective::Preference(preference) => {
            let share = preference.token_share(example.answer_places().count());
            predictions(example).map(|at| (at, -share)).collect()
        }
        _ => vec![(example.tokens.len() - 1, 1.0)],
    }
}

/// The places of an example that the objective reads: where its answer's tokens are predicted, and for a reward also
/// where it ends.
fn places(objective: &Objective, example: &Example) -> Vec<usize> {
    let end = matches!(objective, Objective::Reward(_)).then_some(example.tokens.len() - 1);
    predictions(example).chain(end).collect()
}

impl PairSource {
    /// Pairs for a reward model.
    ///
    /// # Errors
    /// When there are none of either part.
    pub fn for_rewards(
        name: &str,
        reward: Reward,
        train: Vec<EncodedPair>,
        val: Vec<EncodedPair>,
        config: &TrainConfig,
    ) -> Result<Self, PairsError> {
        let bare = |pair| Compared { pair, reference: 0.0 };
        let [train, val] = [train, val].map(|pairs| pairs.into_iter().map(bare).collect::<Vec<_>>());
        Self::new(name, Objective::Reward(reward), train, val, config)
    }

    /// Pairs for a policy, which `reference` reads once: it is not needed in training.
    ///
    /// # Errors
    /// When there are none of either part, or the device fails.
    pub fn for_preferences(
        name: &str,
        objective: Objective,
        [train, val]: [Vec<EncodedPair>; 2],
        config: &TrainConfig,
        device: &mut dyn Device,
        reference: &Reader,
        progress: Progress,
    ) -> Result<Self, PairsError> {
        let mut compare = |pairs: Vec<EncodedPair>| -> Result<Vec<Compared>, ReaderError> {
            let both: Vec<&[u32]> = pairs
                .iter()
                .flat_map(|pair| [pair.chosen.tokens.as_slice(), pair.rejected.tokens.as_slice()])
                .collect();
            let read = reference.read_with_progress(device, &both, &mut *progress)?;
            let difference = |(i, pair): (usize, EncodedPair)| {
                let sum = |example: &Example, nll: &[f32]| -> f32 {
                    shares(&objective, example).iter().map(|&(at, share)| share * nll[at]).sum()
                };
                let reference =
                    sum(&pair.chosen, &read[2 * i].nll) - sum(&pair.rejected, &read[2 * i + 1].nll);
                Compared { pair, reference }
            };
            Ok(pairs.into_iter().enumerate().map(difference).collect())
        };
        let (train, val) = (compare(train)?, compare(val)?);
        Self::new(name, objective, train, val, config)
    }

    fn new(
        name: &str,
        objective: Objective,
        train: Vec<Compared>,
        val: Vec<Compared>,
        config: &TrainConfig,
    ) -> Result<Self, PairsError> {
        let Some(first) = val.first().filter(|_| !train.is_empty()) else {
            let (name, have) = (name.to_owned(), train.len() + val.len());
            return Err(PairsError::TooFew { name, have });
        };
        let all =
            train.iter().chain(&val).flat_map(|compared| [&compared.pair.chosen, &compared.pair.rejected]);
        Ok(Self {
            name: name.to_owned(),
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

    fn beside(&self, pairs: &[&Compared]) -> Batch {
        let width = 2 * pairs.len() * self.most;
        let mut batch = Batch {
            tokens: vec![0; 2 * pairs.len() * self.time],
            weights: vec![1.0 / pairs.len() as f32; pairs.len()],
            ..Batch::default()
        };
        let (mut read, mut targets) = (vec![0; width], vec![0; width]);
        let mut matrix = vec![0.0; pairs.len() * width];
        let sft_weight = match self.objective {
            Objective::Preference(Preference { sft_weight, .. })
            | Objective::Reward(Reward { sft_weight }) => sft_weight,
            _ => 0.0,
        };
        let mut demonstrations = vec![0.0; if sft_weight > 0.0 { matrix.len() } else { 0 }];
        for (row, compared) in pairs.iter().enumerate() {
            for (half, sign) in [(0, 1.0), (1, -1.0)] {
                let example = if half == 0 { &compared.pair.chosen } else { &compared.pair.rejected };
                let [first, slots] = [self.time, self.most].map(|each| (2 * row + half) * each);
                batch.tokens[first..][..example.tokens.len()].copy_from_slice(&example.tokens);
                let of_example = places(&self.objective, example);
                for (slot, &at) in (slots..).zip(&of_example) {
                    read[slot] = (first + at) as u32;
                    targets[slot] = example.tokens.get(at + 1).copied().unwrap_or(0);
                }
                // The places are in order, and hold those of all shares.
                let slot = |at| row * width + slots + of_example.partition_point(|&place| place < at);
                for (at, share) in shares(&self.objective, example) {
                    matrix[slot(at)] = sign * share;
                }
                if half == 0 && sft_weight > 0.0 {
                    let share = sft_weight / example.answer_places().count() as f32;
                    predictions(example).for_each(|at| demonstrations[slot(at)] = share);
                }
            }
        }
        batch.places = Some(read);
        batch.others.push(("pairs", matrix));
        if !demonstrations.is_empty() {
            batch.others.push(("demonstrations", demonstrations));
        }
        let is_preference = matches!(self.objective, Objective::Preference(_));
        if is_preference || sft_weight > 0.0 {
            batch.targets = targets;
        }
        if is_preference {
            batch.others.push(("offsets", pairs.iter().map(|compared| -compared.reference).collect()));
        }
        batch
    }
}

impl Source for PairSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Batch {
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
        self.beside(&chosen)
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
