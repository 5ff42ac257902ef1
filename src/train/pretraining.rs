//! Pretraining: the windows of a text as batches, in the form that the model reads.

use rand_chacha::rand_core::Rng;

use super::neighbours::Neighbours;
use super::source::{Batch, Source, SourceError};
use crate::models::config::{Architecture, ModelConfig};
use crate::run::config::TrainConfig;
use crate::text::dataset::{self, Dataset, Purpose, Sampling, Split, batch_rng};
use crate::text::masked::{Masked, hide};
use crate::text::permutation::Permutation;
use crate::text::tokens::TokensError;

/// What pretraining reads from a text.
#[derive(Clone, Debug)]
pub struct Pretraining {
    pub dataset: Dataset,
    pub seed: u64,
    pub batch_size: usize,
    block_size: usize,
    vocab_size: usize,
    order: Order,
    sampling: Sampling,
    n_micro: u64,
}

/// How the windows of a text become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// At random places.
    Windows,
    /// At random places, only what follows the window being predicted.
    Ends,
    /// Each of a batch reading on where it was, time-major.
    Streams,
    /// At random places, some tokens hidden and these predicted.
    Hidden,
}

/// What `model` learns from `dataset` in a run of these settings.
///
/// # Errors
/// When word vectors need all tokens of a file, and they cannot be read.
pub fn pretraining(
    config: &TrainConfig,
    model: &ModelConfig,
    dataset: Dataset,
) -> Result<Box<dyn Source>, TokensError> {
    let &TrainConfig { seed, batch_size, grad_accum, .. } = config;
    Ok(match model.architecture {
        Architecture::Skipgram => Box::new(Neighbours::new(model, &dataset, seed, batch_size)?),
        _ => {
            let source = Pretraining::new(model, dataset, seed, batch_size, grad_accum);
            Box::new(Pretraining { sampling: config.sampling, ..source })
        }
    })
}

impl Pretraining {
    /// Next-token prediction on `dataset` as `model` reads it.
    pub fn new(
        model: &ModelConfig,
        dataset: Dataset,
        seed: u64,
        batch_size: usize,
        grad_accum: usize,
    ) -> Self {
        let order = match model.architecture {
            Architecture::Mlp => Order::Ends,
            Architecture::Transformer if !model.causal => Order::Hidden,
            _ if model.is_recurrent() => Order::Streams,
            _ => Order::Windows,
        };
        let block_size = model.block_size;
        Self {
            dataset,
            seed,
            batch_size,
            block_size,
            vocab_size: model.vocab_size,
            order,
            sampling: Sampling::Random,
            n_micro: grad_accum as u64,
        }
    }

    /// Window `at` of each of `batch_size` streams into which the text is cut; after the last one all start
    /// again.
    fn stream(&self, split: Split, at: u64) -> Result<(Vec<u32>, Vec<u32>), TokensError> {
        let data = self.dataset.tokens(split);
        let (batch, time) = (self.batch_size, self.block_size);
        let apart = (data.len() - 1) / batch;
        // Streams shorter than a window overlap; the text itself has a whole one.
        let windows = (apart / time).max(1);
        let at = (at % windows as u64) as usize * time;
        let start = |stream: usize| (stream * apart + at).min(data.len() - 1 - time);
        let windows: Vec<_> =
            (0..batch).map(|stream| data.read(start(stream), time + 1)).collect::<Result<_, _>>()?;
        Ok((0..time * batch)
            .map(|i| (windows[i % batch][i / batch], windows[i % batch][i / batch + 1]))
            .unzip())
    }

    /// Windows side by side in the text, in the order of their epoch: as many as there are, then in another order again.
    fn of_epoch(&self, step: u64, micro: u64) -> Result<dataset::Batch, TokensError> {
        let data = &self.dataset.train;
        let windows = (data.len() - 1) / self.block_size;
        let mut batch = dataset::Batch { tokens: Vec::new(), targets: Vec::new() };
        let first = (step * self.n_micro + micro) * self.batch_size as u64;
        for number in first..first + self.batch_size as u64 {
            let epoch = number / windows as u64;
            // No micro-step has this number.
            let mut rng = batch_rng(self.seed, Purpose::Training, epoch, u64::MAX);
            let order = Permutation::new(windows, &mut rng);
            let window = order.place((number % windows as u64) as usize);
            batch.add(&data.read(window * self.block_size, self.block_size + 1)?);
        }
        Ok(batch)
    }

    /// The vocabulary ends with the token that hides others.
    fn hide(&self, tokens: &[u32], rng: &mut impl Rng) -> Batch {
        let mask = self.vocab_size - 1;
        let Masked { tokens, targets, weights } = hide(tokens, mask as u32, mask, rng);
        Batch { tokens, targets, weights: normalised(weights), ..Batch::default() }
    }
}

impl Source for Pretraining {
    fn name(&self) -> &str {
        &self.dataset.name
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        let (tokens, targets) = if self.order == Order::Streams && purpose == Purpose::Training {
            self.stream(split, step * self.n_micro + micro)?
        } else {
            let mut rng = batch_rng(self.seed, purpose, step, micro);
            let batch = match (self.sampling, purpose) {
                (Sampling::Epoch, Purpose::Training) => self.of_epoch(step, micro)?,
                _ => self.dataset.batch(split, &mut rng, self.batch_size, self.block_size)?,
            };
            match self.order {
                Order::Windows => (batch.tokens, batch.targets),
                Order::Hidden => return Ok(self.hide(&batch.tokens, &mut rng)),
                Order::Ends => {
                    let last = batch.targets.iter().skip(self.block_size - 1).step_by(self.block_size);
                    (batch.tokens, last.copied().collect())
                }
                Order::Streams => {
                    let turned = |x: &[u32]| time_major(x, self.batch_size, self.block_size);
                    (turned(&batch.tokens), turned(&batch.targets))
                }
            }
        };
        let weights = vec![1.0 / targets.len() as f32; targets.len()];
        Ok(Batch { tokens, targets, weights, ..Batch::default() })
    }

    fn quantity(&self) -> &'static str {
        if self.order == Order::Hidden { "loss (nats per hidden token)" } else { self.objective().quantity() }
    }

    fn bytes_per_token(&self) -> Option<f64> {
        let Dataset { val, val_bytes, .. } = &self.dataset;
        (self.order != Order::Hidden && *val_bytes > 0).then(|| *val_bytes as f64 / val.len() as f64)
    }

    fn prompt(&self) -> &[u32] {
        self.dataset.val.first()
    }
}

/// Weights that sum to 1; all 0 where none is above.
pub fn normalised(mut weights: Vec<f32>) -> Vec<f32> {
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum.max(1.0));
    weights
}

/// (batch, time) → (time, batch)
pub(super) fn time_major<T: Copy>(x: &[T], batch: usize, time: usize) -> Vec<T> {
    (0..time * batch).map(|i| x[i % batch * time + i / batch]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::dataset::HeldOut;

    fn counting() -> Dataset {
        let tokens = || (0..26).collect::<Vec<_>>().into();
        let (train, val, held_out) = (tokens(), tokens(), HeldOut::LastTenth);
        Dataset { name: "counting".into(), train, val, val_bytes: 26, held_out }
    }

    fn source(architecture: Architecture, batch_size: usize) -> Pretraining {
        let model = ModelConfig { architecture, ..ModelConfig::gpt(100, 3, 1, 1, 4) };
        let dataset = counting();
        Pretraining::new(&model, dataset, 1, batch_size, 2)
    }

    fn train(source: &Pretraining, step: u64, micro: u64) -> Batch {
        source.batch(Split::Train, Purpose::Training, step, micro).unwrap()
    }

    #[test]
    fn streams_read_on_and_stand_time_major() {
        let source = source(Architecture::Rnn, 2);
        // 25 pairs in two streams of 12: four windows of 3 each.
        assert_eq!(train(&source, 0, 0).tokens, [0, 12, 1, 13, 2, 14]);
        assert_eq!(train(&source, 0, 0).targets, [1, 13, 2, 14, 3, 15]);
        assert_eq!(train(&source, 0, 1).tokens, [3, 15, 4, 16, 5, 17]);
        assert_eq!(train(&source, 1, 1).tokens, [9, 21, 10, 22, 11, 23]);
        assert_eq!(train(&source, 2, 0), train(&source, 0, 0));
    }

    /// 25 predictions make eight windows of 3; each eight windows in a row are all of them.
    #[test]
    fn an_epoch_has_every_window_once() {
        let random = Pretraining { n_micro: 2, ..source(Architecture::Transformer, 2) };
        let source = Pretraining { sampling: Sampling::Epoch, ..random.clone() };
        let starts = |source: &Pretraining, steps: std::ops::Range<u64>| -> Vec<u32> {
            let micros = steps.flat_map(|step| [(step, 0), (step, 1)]);
            micros
                .flat_map(|(step, micro)| {
                    let batch = train(source, step, micro);
                    assert!(
                        batch.tokens.iter().zip(&batch.targets).all(|(token, target)| token + 1 == *target)
                    );
                    [batch.tokens[0], batch.tokens[3]]
                })
                .collect()
        };
        let [first, second] = [0..2, 2..4].map(|steps| starts(&source, steps));
        for epoch in [&first, &second] {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 3, 6, 9, 12, 15, 18, 21]);
        }
        assert_ne!(first, second);
        // What is estimated on is drawn as ever.
        let estimate = |source: &Pretraining| source.batch(Split::Train, Purpose::Estimating, 0, 0).unwrap();
        assert_eq!(estimate(&source), estimate(&random));
    }

    #[test]
    fn an_mlp_predicts_what_follows_its_window() {
        let batch = train(&source(Architecture::Mlp, 2), 0, 0);
        assert_eq!((batch.tokens.len(), batch.targets.len(), batch.weights), (6, 2, vec![0.5; 2]));
        assert_eq!(batch.targets, [batch.tokens[2] + 1, batch.tokens[5] + 1]);
    }

    #[test]
    fn a_bert_predicts_what_is_hidden_and_nothing_else() {
        let model = ModelConfig { causal: false, ..ModelConfig::gpt(27, 20, 1, 1, 4) };
        let dataset = counting();
        let batch = train(&Pretraining::new(&model, dataset, 1, 4, 1), 0, 0);
        let counted: Vec<_> = (0..80).filter(|&i| batch.weights[i] > 0.0).collect();
        assert!((4..30).contains(&counted.len()), "{counted:?}");
        assert!((batch.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(counted.iter().any(|&i| batch.tokens[i] == 26));
        // Windows of a text that counts: every token but the hidden ones is one more than that before it.
        for &i in &counted {
            let start = i / 20 * 20;
            let known = (start..start + 20).find(|j| batch.weights[*j] == 0.0).unwrap();
            assert_eq!(batch.targets[i] + known as u32, batch.tokens[known] + i as u32);
        }
    }

    #[test]
    fn estimates_are_random_windows_for_all() {
        let [windows, streams] = [Architecture::Transformer, Architecture::Gru]
            .map(|a| source(a, 2).batch(Split::Val, Purpose::Estimating, 5, 0).unwrap().tokens);
        assert_eq!(time_major(&windows, 2, 3), streams);
    }
}
