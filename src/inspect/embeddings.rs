//! The vectors of a model's tokens: nearest neighbours, and analogies.

use crate::engine::op::OpError;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{ModelInputs, backbone};
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

/// A token near others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    pub id: u32,
    /// The cosine of the angle between them, 1 in the same direction and 0 across; or what a [`Rule`] makes of several.
    pub likeness: f64,
}

/// What makes a token d near to a − b + c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rule {
    /// Its cosine with the sum, cos(d, a) − cos(d, b) + cos(d, c) but for a factor (Mikolov et al. 2013).
    Sum,
    /// p(d, a) p(d, c) / p(d, b), p being the cosine brought to 0 to 1 (3CosMul, Levy & Goldberg 2014): as the sum on
    /// a logarithmic scale, so that being very like one of the terms does not make up for the others.
    Product,
}

/// An analogy, a is to b as c is to d, and what was found instead of d.
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
pub fn table(config: &ModelConfig) -> Result<Entry, OpError> {
    let mut tape = Tape::new("inspect");
    let tokens = tape.input("tokens", Spec::u32(config.tokens_shape(1, config.block_size)));
    backbone(&mut tape, config, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
    let lookup = tape.nodes.iter().find(|node| node.op.info().name == "embedding");
    let table = lookup.ok_or_else(|| OpError::new("it looks no token up"))?.inputs[1];
    Ok(Entry { name: tape.name(table).to_owned(), shape: tape.shape(table) })
}

/// The one token that `word` is, by itself or after a space; `␣` may be written for a space.
///
/// # Errors
/// When `word` is not exactly one token.
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

    /// The tokens nearest to another, nearest first.
    pub fn neighbours(&self, token: u32, n: usize) -> Vec<Near> {
        let vector = self.vector(token);
        self.ranked(n, &[token], |other| dot(other, vector))
    }

    /// The tokens nearest to a − b + c: king − man + woman. The three themselves do not count.
    pub fn combination(&self, terms: [u32; 3], rule: Rule, n: usize) -> Vec<Near> {
        let [a, b, c] = terms.map(|term| self.vector(term));
        match rule {
            Rule::Sum => {
                let mut sum: Vec<_> = (0..self.width).map(|i| a[i] - b[i] + c[i]).collect();
                normalise(&mut sum);
                self.ranked(n, &terms, |other| dot(other, &sum))
            }
            Rule::Product => self.ranked(n, &terms, |other| {
                let [a, b, c] = [a, b, c].map(|term| 0.5 + 0.5 * dot(other, term));
                // The authors' ε, against division by nothing.
                a * c / (b + 1e-3)
            }),
        }
    }

    /// All tokens but some, the `n` most like first.
    fn ranked(&self, n: usize, but: &[u32], likeness: impl Fn(&[f64]) -> f64) -> Vec<Near> {
        let near = |(id, vector)| Near { id, likeness: likeness(vector) };
        let mut all: Vec<_> = (0..).zip(self.vectors.chunks_exact(self.width)).map(near).collect();
        all.retain(|near| !but.contains(&near.id));
        all.sort_by(|a, b| b.likeness.total_cmp(&a.likeness));
        all.truncate(n);
        all
    }

    /// For each [a, b, c, d], a is to b as c is to d, what is nearest to b − a + c.
    pub fn solve(&self, analogies: &[[u32; 4]], rule: Rule) -> Vec<Answer> {
        let solve = |&analogy: &[u32; 4]| {
            let [a, b, c, _] = analogy;
            Some(Answer { analogy, found: *self.combination([b, a, c], rule, 1).first()? })
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
            assert!((near.likeness - cosine).abs() < 1e-12, "{near:?}");
        }
    }

    /// (0.6, 0.8) − (0, 1) + (1, 0) is (1.6, −0.2): nearest to (0.8, 0.6), whose cosine is 1.16 / √2.6. The cosines
    /// of that with the three are 0.96, 0.6 and 0.8.
    #[test]
    fn combinations_leave_their_terms_out() {
        let product = 0.98 * 0.9 / 0.801;
        for (rule, likeness) in [(Rule::Sum, 1.16 / 2.6f64.sqrt()), (Rule::Product, product)] {
            let found = plane().combination([3, 1, 0], rule, 1)[0];
            assert_eq!(found.id, 4);
            assert!((found.likeness - likeness).abs() < 1e-12, "{found:?}");
            let answers = plane().solve(&[[1, 3, 0, 4], [1, 3, 0, 2]], rule);
            assert_eq!([answers[0].is_right(), answers[1].is_right()], [true, false]);
        }
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
        // "king" is a token of its own, and "wizard" only after a space.
        assert_eq!(word(&gpt2, "king").unwrap(), gpt2.encode("king").unwrap()[0]);
        assert_eq!(word(&gpt2, "␣king").unwrap(), gpt2.encode(" king").unwrap()[0]);
        assert_eq!(word(&gpt2, "wizard").unwrap(), gpt2.encode(" wizard").unwrap()[0]);
        let error = word(&gpt2, "thimblefuls").unwrap_err().to_string();
        assert!(error.contains("\"thimblefuls\" is") && error.contains("tokens"), "{error}");
        let char = Tokenizer::from_name("char", "king").unwrap();
        assert!(word(&char, "queen").unwrap_err().to_string().contains('q'));
    }
}
