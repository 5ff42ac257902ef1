//! Language models, each recorded on a tape from the layers of [`nn`](crate::nn).

pub mod abilities;
pub mod adapters;
pub mod bigram;
pub mod census;
pub mod config;
pub mod details;
pub mod mlp;
pub mod recurrent;
pub mod skipgram;
pub mod transformer;

use self::config::{Architecture, ModelConfig};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::{Shape, Spec};
use crate::nn::Pass;
use crate::ops::embedding::Embedding;
use crate::ops::matmul::Matmul;
use crate::ops::rows::TakeRows;

/// The inputs of a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelInputs {
    /// (batch, time); for recurrent nets (time, batch), so that the rows of a step are contiguous.
    pub tokens: Var,
    /// Where examples share rows. For Transformers.
    pub segments: Option<Segments>,
}

/// Examples that share rows; both of the tokens' shape.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// A token sees only those of its own segment.
    pub numbers: Var,
    /// The place of each token in its segment.
    pub positions: Var,
}

/// A model without its head, as recorded on a tape.
#[derive(Clone, Debug)]
pub struct Backbone {
    /// (…, n_embd): a row for every prediction; or the logits themselves if there is no head.
    pub hidden: Var,
    /// (vocab_size, n_embd): what a row is multiplied with to give logits.
    pub head: Option<Var>,
    /// Recurrent states that the next window begins with, each with its new value: to be
    /// [carried](crate::nn::recurrent::carry) over after their last use.
    pub carried: Vec<(Var, Var)>,
}

/// Records everything below the head.
pub fn backbone(
    tape: &mut Tape,
    config: &ModelConfig,
    read: ModelInputs,
    pass: Pass,
) -> Result<Backbone, OpError> {
    config.check().map_err(|error| OpError::new(error.to_string()))?;
    match config.architecture {
        Architecture::Transformer => transformer::backbone(tape, config, read, pass),
        Architecture::Rnn | Architecture::Gru | Architecture::Lstm => {
            recurrent::backbone(tape, config, read.tokens, pass)
        }
        Architecture::Mlp => mlp::backbone(tape, config, read.tokens, pass),
        Architecture::Bigram => bigram::backbone(tape, config, read.tokens),
        Architecture::Skipgram => skipgram::backbone(tape, config, read.tokens),
    }
}

impl Backbone {
    /// Keeps only the rows at `places`, (1, k) indices: the head then computes no other logits.
    pub fn at(self, tape: &mut Tape, places: Var) -> Result<Self, OpError> {
        Ok(Self { hidden: tape.apply_one(Embedding, &[places, self.hidden])?, ..self })
    }

    /// The logits of `rows` rows from `first` on, (rows, vocab_size).
    pub fn logits(&self, tape: &mut Tape, first: usize, rows: usize) -> Result<Var, OpError> {
        let mut hidden = self.hidden;
        if rows != tape.spec(hidden).shape.rows() {
            hidden = tape.apply_one(TakeRows { first, rows }, &[hidden])?;
        }
        match self.head {
            Some(head) => tape.apply_one(Matmul::LINEAR, &[hidden, head]),
            None => Ok(hidden),
        }
    }

    /// The logits of the last row alone, (1, vocab_size).
    pub fn last_logits(&self, tape: &mut Tape) -> Result<Var, OpError> {
        self.logits(tape, tape.spec(self.hidden).shape.rows() - 1, 1)
    }
}

impl ModelConfig {
    /// Of the tokens of a batch.
    pub fn tokens_shape(&self, batch: usize, time: usize) -> [usize; 2] {
        match self.architecture {
            Architecture::Rnn | Architecture::Gru | Architecture::Lstm => [time, batch],
            Architecture::Skipgram => [batch, 1],
            _ => [batch, time],
        }
    }

    /// Predictions of a batch of sequences: one for each token, but of an MLP only one after its window, and of a
    /// skip-gram model whether each candidate is a neighbour.
    pub fn n_predictions(&self, batch: usize, time: usize) -> usize {
        match self.architecture {
            Architecture::Mlp => batch,
            Architecture::Skipgram => batch.saturating_mul(skipgram::CANDIDATES),
            _ => batch.saturating_mul(time),
        }
    }

    /// The parameters of the model, by name; a tied head is the embedding.
    pub fn parameters(&self) -> Result<Vec<(String, Shape)>, OpError> {
        // Each step of a recurrent net has the same.
        let time = if self.is_recurrent() { 1 } else { self.block_size };
        let mut tape = Tape::new("parameters");
        let tokens = tape.input("tokens", Spec::u32(self.tokens_shape(1, time)));
        backbone(&mut tape, self, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
        let named = |parameter| (tape.name(parameter).to_owned(), tape.shape(parameter));
        Ok(tape.parameters().into_iter().map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nanoGPT's README gives 0.80M and 10.65M; it leaves the position table out of its count.
    #[test]
    fn parameters_are_counted_as_published() {
        let mini = ModelConfig::gpt(65, 64, 4, 4, 128).n_parameters();
        assert_eq!((mini, mini - 64 * 128), (804_096, 795_904));
        let char = ModelConfig::gpt(65, 256, 6, 6, 384).n_parameters();
        assert_eq!(char - 256 * 384, 10_646_784);
        let gpt2 = ModelConfig { bias: true, ..ModelConfig::gpt(50_257, 1024, 12, 12, 768) };
        assert_eq!(gpt2.n_parameters(), 124_439_808);
    }
}
