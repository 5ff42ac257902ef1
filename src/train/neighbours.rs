//! The batches of word vectors: tokens of a text, a neighbour of each, and other tokens.

use super::source::{Batch, Source, SourceError};
use crate::models::config::ModelConfig;
use crate::models::skipgram::CANDIDATES;
use crate::objective::Objective;
use crate::objective::inputs::Input;
use crate::text::dataset::{Dataset, Purpose, Split, batch_rng};
use crate::text::skipgram::{SkipGram, THRESHOLD};
use crate::text::tokens::TokensError;

/// Pairs of neighbours in a text, each with negative samples. A neighbour may be any number of skipped tokens away, so
/// the text is in memory.
#[derive(Clone, Debug)]
pub struct Neighbours {
    name: String,
    train: Vec<u32>,
    val: Vec<u32>,
    seed: u64,
    batch_size: usize,
    pairs: SkipGram,
}

impl Neighbours {
    /// Pairs of `dataset` up to a block of `model` apart.
    pub fn new(
        model: &ModelConfig,
        dataset: &Dataset,
        seed: u64,
        batch_size: usize,
    ) -> Result<Self, TokensError> {
        let [train, val] = [dataset.train.all()?.into_owned(), dataset.val.all()?.into_owned()];
        let pairs = SkipGram::new(&train, model.vocab_size, model.block_size, THRESHOLD);
        Ok(Self { name: dataset.name.clone(), train, val, seed, batch_size, pairs })
    }
}

impl Source for Neighbours {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        let mut rng = batch_rng(self.seed, purpose, step, micro);
        let text = match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        };
        let n = self.batch_size * CANDIDATES;
        let (mut tokens, mut targets, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.batch_size {
            let [token, neighbour] = self.pairs.pair(text, &mut rng);
            tokens.push(token);
            targets.push(neighbour);
            targets.extend((1..CANDIDATES).map(|_| self.pairs.negative(neighbour, &mut rng)));
            labels.extend((0..CANDIDATES).map(|i| if i == 0 { 1.0 } else { 0.0 }));
        }
        let weights = vec![1.0 / n as f32; n];
        Ok(Batch { tokens, targets, weights, others: vec![(Input::Labels, labels)], ..Batch::default() })
    }

    fn objective(&self) -> Objective {
        Objective::Neighbours
    }

    fn prompt(&self) -> &[u32] {
        &self.val[..1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::dataset::HeldOut;

    #[test]
    fn a_batch_pairs_neighbours_and_others_and_depends_on_its_step_alone() {
        // Of 2,000 different tokens each is too rare to be passed over.
        let text: Vec<u32> = (0..2000).collect();
        let (train, val, held_out) = (text.clone().into(), text.into(), HeldOut::LastTenth);
        let dataset = Dataset { name: "counting".into(), train, val, val_bytes: 0, held_out };
        let source = Neighbours::new(&ModelConfig::gpt(2000, 4, 1, 1, 4), &dataset, 1, 30).unwrap();
        let draw = |step, micro| source.batch(Split::Train, Purpose::Training, step, micro).unwrap();
        let batch = draw(7, 1);
        assert_eq!((batch.tokens.len(), batch.targets.len()), (30, 180));
        for (token, candidates) in batch.tokens.iter().zip(batch.targets.chunks(CANDIDATES)) {
            assert!((1..=4).contains(&token.abs_diff(candidates[0])), "{token} {candidates:?}");
            assert!(candidates[1..].iter().all(|wrong| *wrong != candidates[0]));
        }
        let labels = &batch.others[0].1;
        assert!(labels.chunks(CANDIDATES).all(|row| row == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert_eq!(batch.weights, [1.0 / 180.0; 180]);
        assert_eq!(batch, draw(7, 1));
        assert!(batch != draw(7, 0) && batch != draw(8, 1));
    }
}
