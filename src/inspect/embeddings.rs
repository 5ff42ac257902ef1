//! The vectors of a model's tokens: which lie near each other, and what stands to one token as another to a third.

use crate::engine::op::OpError;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{Reading, trunk};
use crate::nn::Pass;
use crate::run::tensor_file::Entry;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// A vector of length 1 for each token.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    width: usize,
    /// (tokens, width)
    vectors: Vec<f64>,
}

/// A token near some place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    pub id: u32,
    /// The cosine of the angle between them: 1 in the same direction, 0 across.
    pub cosine: f64,
}

/// An analogy, a is to b as c is to d, and what was found in place of d.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub analogy: [u32; 4],
    pub found: Near,
}

impl Answer {
    pub fn is_right(&self) -> bool {
        self.found.id == self.analogy[3]
    }
}

/// Why a word has no vector.
#[derive(Debug, thiserror::Error)]
pub enum WordError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(
        "{word:?} is {tokens} tokens to this model, not one: take a shorter word, or a model of --tokenizer word"
    )]
    NotOne { word: String, tokens: usize },
}

/// The table from which a model looks its tokens up: (vocab_size, n_embd), whatever its architecture calls it.
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn table(config: &ModelConfig) -> Result<Entry, OpError> {
    let mut tape = Tape::new("inspect");
    let tokens = tape.input("tokens", Spec::u32(config.tokens_shape(1, config.block_size)));
    trunk(&mut tape, config, Reading { tokens, segments: None }, Pass::Evaluate)?;
    let lookup = tape.nodes.iter().find(|node| node.op.info().name == "embedding");
    let table = lookup.ok_or_else(|| OpError::new("it looks no token up"))?.inputs[1];
    Ok(Entry { name: tape.name(table).to_owned(), shape: tape.shape(table) })
}

/// The one token that `word` is, by itself or as it stands behind a space; `␣` may be written for a space.
///
/// # Errors
/// When it is none or several.
pub fn word(tokenizer: &Tokenizer, word: &str) -> Result<u32, WordError> {
    let word = word.replace('␣', " ");
    let tokens = tokenizer.encode(&word)?;
    match (tokens.as_slice(), tokenizer.encode(&format!(" {word}")).as_deref()) {
        (&[token], _) | (_, Ok(&[token])) => Ok(token),
        _ => Err(WordError::NotOne { word, tokens: tokens.len() }),
    }
}

impl Embeddings {
    /// The rows of `table`, (tokens, width), brought to length 1.
    pub fn new(table: &[f32], width: usize) -> Self {
        let mut vectors: Vec<f64> = table.iter().map(|&x| x.into()).collect();
        vectors.chunks_exact_mut(width).for_each(normalise);
        Self { width, vectors }
    }

    /// The direction of a token.
    pub fn vector(&self, token: u32) -> &[f64] {
        &self.vectors[token as usize * self.width..][..self.width]
    }

    /// The `n` tokens nearest to a place, nearest first, without those of `but`.
    pub fn nearest(&self, place: &[f64], n: usize, but: &[u32]) -> Vec<Near> {
        let mut place = place.to_vec();
        normalise(&mut place);
        let near = |(id, vector): (u32, &[f64])| Near { id, cosine: dot(vector, &place) };
        let mut all: Vec<_> = (0..).zip(self.vectors.chunks_exact(self.width)).map(near).collect();
        all.retain(|near| !but.contains(&near.id));
        all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        all.truncate(n);
        all
    }

    /// The tokens nearest to another.
    pub fn neighbours(&self, token: u32, n: usize) -> Vec<Near> {
        self.nearest(self.vector(token), n, &[token])
    }

    /// The tokens nearest to a − b + c: king − man + woman. The three themselves do not count.
    pub fn combination(&self, [a, b, c]: [u32; 3], n: usize) -> Vec<Near> {
        let (a_vector, b_vector, c_vector) = (self.vector(a), self.vector(b), self.vector(c));
        let place: Vec<_> = (0..self.width).map(|i| a_vector[i] - b_vector[i] + c_vector[i]).collect();
        self.nearest(&place, n, &[a, b, c])
    }

    /// For each [a, b, c, d], a is to b as c is to d, what is nearest to b − a + c.
    pub fn solve(&self, analogies: &[[u32; 4]]) -> Vec<Answer> {
        let solve = |&analogy: &[u32; 4]| {
            let [a, b, c, _] = analogy;
            Some(Answer { analogy, found: *self.combination([b, a, c], 1).first()? })
        };
        analogies.iter().filter_map(solve).collect()
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// To length 1; nothing stays nothing.
fn normalise(x: &mut [f64]) {
    let length = dot(x, x).sqrt();
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::Architecture;

    /// Six words of the plane and their angles by hand.
    fn plane() -> Embeddings {
        Embeddings::new(&[2.0, 0.0, 0.0, 3.0, -1.0, 0.0, 3.0, 4.0, 4.0, 3.0, 0.0, 0.0], 2)
    }

    #[test]
    fn neighbours_are_ranked_by_angle_whatever_their_length() {
        let near = plane().neighbours(0, 9);
        let ids: Vec<_> = near.iter().map(|near| near.id).collect();
        assert_eq!(ids, [4, 3, 1, 5, 2]);
        for (near, cosine) in near.iter().zip([0.8, 0.6, 0.0, 0.0, -1.0]) {
            assert!((near.cosine - cosine).abs() < 1e-12, "{near:?}");
        }
    }

    /// (0.6, 0.8) − (0, 1) + (1, 0) is (1.6, −0.2): nearest to (0.8, 0.6), whose cosine is 1.16 / √2.6.
    #[test]
    fn combinations_leave_their_terms_out() {
        let found = plane().combination([3, 1, 0], 1)[0];
        assert_eq!(found.id, 4);
        assert!((found.cosine - 1.16 / 2.6f64.sqrt()).abs() < 1e-12);
        let answers = plane().solve(&[[1, 3, 0, 4], [1, 3, 0, 2]]);
        assert_eq!([answers[0].is_right(), answers[1].is_right()], [true, false]);
    }

    #[test]
    fn every_architecture_has_a_table() {
        for (architecture, name) in [
            (Architecture::Transformer, "transformer.wte.weight"),
            (Architecture::Lstm, "recurrent.wte.weight"),
            (Architecture::Mlp, "mlp.wte.weight"),
            (Architecture::Bigram, "bigram.weight"),
            (Architecture::Skipgram, "skipgram.wte.weight"),
        ] {
            let config = ModelConfig { architecture, ..ModelConfig::gpt(17, 4, 1, 1, 8) };
            let entry = table(&config).unwrap();
            let width = if architecture == Architecture::Bigram { 17 } else { 8 };
            assert_eq!((entry.name.as_str(), entry.shape), (name, [17, width].into()));
        }
    }

    #[test]
    fn a_word_is_one_token_perhaps_behind_a_space() {
        let gpt2 = Tokenizer::from_name("gpt2", "").unwrap();
        // "king" is a token of its own, and "wizard" only behind a space.
        assert_eq!(word(&gpt2, "king").unwrap(), gpt2.encode("king").unwrap()[0]);
        assert_eq!(word(&gpt2, "␣king").unwrap(), gpt2.encode(" king").unwrap()[0]);
        assert_eq!(word(&gpt2, "wizard").unwrap(), gpt2.encode(" wizard").unwrap()[0]);
        let error = word(&gpt2, "thimblefuls").unwrap_err().to_string();
        assert!(error.contains("\"thimblefuls\" is") && error.contains("tokens"), "{error}");
        let char = Tokenizer::from_name("char", "king").unwrap();
        assert!(word(&char, "queen").unwrap_err().to_string().contains('q'));
    }
}
