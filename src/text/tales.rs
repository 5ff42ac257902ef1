//! The Tales world: short stories whose every choice has a known probability.
//!
//! A grammar (`data/tales.toml`) generates sentences about people, things and places, who has what, where it lies and
//! who knows. Later sentences follow from earlier ones: what was put in the box is found in the box. A text has exactly
//! one derivation (proved in `tales/check.rs`), so the corpus has an exact entropy, the least loss that any model can
//! reach: a floor to read a training curve against. And a text, even one a model wrote, can be read back into its
//! facts. From the facts come questions with exact answers, demonstrations of imperfect demonstrations, pairs of a
//! better and a worse answer, and a program to [`grade`] replies.

mod check;
mod exchange;
mod flaws;
pub mod grade;
mod grammar;
mod hidden;
mod manner;
mod questions;
mod telling;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dataset::split_text;
use check::proven;
use grammar::Grammar;
use telling::Telling;

pub use exchange::{Exchange, UNKNOWN, jsonl, messages};
pub use flaws::Demonstration;
pub use grammar::GrammarError;
pub use hidden::{Guess, Seen};
pub use questions::Part;

/// What follows every tale in a corpus.
pub const SEPARATOR: &str = "\n\n";

/// Something a tale makes true, as three phrases: "the ring", "is", "in the box". A later fact of a tale
/// overrules an earlier one with the same subject and relation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    pub subject: String,
    pub relation: String,
    pub object: String,
}

/// One story.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tale {
    /// A paragraph, without [`SEPARATOR`].
    pub text: String,
    /// In the order in which the text makes them true.
    pub facts: Vec<Fact>,
    /// −ln of its probability.
    pub nats: f64,
    /// Its choices: the byte of `text` from which each shows, and its −ln p. They sum to `nats`.
    pub choices: Vec<(usize, f64)>,
}

/// Many tales in a row, and what each choice in them cost.
#[derive(Clone, Debug)]
pub struct TalesCorpus {
    /// ASCII, so that bytes are characters.
    pub text: String,
    /// (byte of `text`, −ln p), in order.
    pub choices: Vec<(usize, f64)>,
}

/// The world: all tales and their probabilities.
#[derive(Debug)]
pub struct Tales {
    grammar: Grammar,
}

impl Tales {
    /// The built-in world.
    pub fn new() -> Self {
        let grammar = proven(include_str!("../../data/tales.toml"));
        // The text is part of the program, and a test loads it.
        Self { grammar: grammar.expect("the built-in grammar is sound") }
    }

    /// A world of one's own, written like `data/tales.toml`; errors say which rule is unsound and why.
    pub fn from_toml(text: &str) -> Result<Self, GrammarError> {
        Ok(Self { grammar: proven(text)? })
    }

    /// One tale, its choices made with `rng`.
    pub fn tell(&self, rng: &mut impl Rng) -> Tale {
        let mut telling = Telling::new(&self.grammar);
        while let Some(choice) = telling.next() {
            telling.take(&choice, choice.pick(rng));
        }
        telling.tale
    }

    /// Tales from `seed`, each followed by [`SEPARATOR`], until there are at least `chars` characters.
    pub fn corpus(&self, seed: u64, chars: usize) -> TalesCorpus {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut corpus = TalesCorpus { text: String::new(), choices: Vec::new() };
        while corpus.text.len() < chars {
            let tale = self.tell(&mut rng);
            let start = corpus.text.len();
            corpus.choices.extend(tale.choices.iter().map(|&(at, nats)| (start + at, nats)));
            corpus.text.push_str(&tale.text);
            corpus.text.push_str(SEPARATOR);
        }
        corpus
    }

    /// Expected nats per character of an endless corpus: E(−ln p) / E(characters) of a tale, both exact.
    ///
    /// It is what a model reaches that sees whole tales; one whose block is shorter pays for what it forgets.
    pub fn entropy_rate(&self) -> f64 {
        // Loading the grammar has computed this once without error.
        let mean = check::mean(&self.grammar).expect("a loaded grammar has a mean");
        mean.nats / (mean.chars + SEPARATOR.len() as f64)
    }

    /// The words that have a form for each sex: king and queen, brother and sister.
    pub fn pairs(&self) -> Vec<[String; 2]> {
        let kinds: BTreeMap<&str, _> =
            self.grammar.slots.iter().map(|slot| (slot.kind.as_str(), &slot.words)).collect();
        let forms = |word: &BTreeMap<String, String>| Some([word.get("m")?.clone(), word.get("f")?.clone()]);
        kinds.into_values().flatten().filter_map(forms).collect()
    }

    /// What the world implies by analogy, as [a, b, c, d]: a is to b as c is to d. They are any two of the
    /// [pairs](Self::pairs), both ways: king : queen as man : woman, and queen : king as woman : man.
    pub fn analogies(&self) -> Vec<[String; 4]> {
        let pairs = self.pairs();
        let mut analogies = Vec::new();
        for [a, b] in &pairs {
            for [c, d] in pairs.iter().filter(|[c, _]| c != a) {
                analogies.push([a, b, c, d].map(String::clone));
                analogies.push([b, a, d, c].map(String::clone));
            }
        }
        analogies
    }

    /// The tale whose text this is (without [`SEPARATOR`]); `None` if the world has no such tale.
    pub fn read(&self, text: &str) -> Option<Tale> {
        self.readings(text).pop()
    }

    /// Every derivation of `text`, by trying all choices that agree with it. There is at most one.
    fn readings(&self, text: &str) -> Vec<Tale> {
        let mut open = vec![Telling::new(&self.grammar)];
        let mut readings = Vec::new();
        while let Some(mut telling) = open.pop() {
            let choice = telling.next();
            if !text.starts_with(&telling.tale.text) {
                continue;
            }
            match choice {
                Some(choice) => open.extend((0..choice.len()).map(|i| {
                    let mut branch = telling.clone();
                    branch.take(&choice, i);
                    branch
                })),
                None if telling.tale.text == text => readings.push(telling.tale),
                None => {}
            }
        }
        readings
    }
}

impl Default for Tales {
    fn default() -> Self {
        Self::new()
    }
}

impl TalesCorpus {
    /// The nats per character its choices took: near the entropy rate, and the exact floor of this text.
    pub fn nats_per_char(&self) -> f64 {
        self.nats_from(0) / self.text.len() as f64
    }

    /// The same for the part a [`Dataset`](super::dataset::Dataset) validates on: the floor of `val_loss`.
    pub fn val_nats_per_char(&self) -> f64 {
        let (train, val) = split_text(&self.text);
        self.nats_from(train.len()) / val.len() as f64
    }

    fn nats_from(&self, start: usize) -> f64 {
        self.choices.iter().filter(|(at, _)| *at >= start).map(|(_, nats)| nats).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tales(world: &Tales, seed: u64, count: usize) -> Vec<Tale> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| world.tell(&mut rng)).collect()
    }

    #[test]
    fn a_text_is_read_in_one_way_and_gives_back_its_tale() {
        let world = Tales::new();
        for tale in tales(&world, 1, 300) {
            let readings = world.readings(&tale.text);
            assert_eq!(readings, [tale]);
        }
    }

    #[test]
    fn a_text_that_is_no_tale_is_not_read() {
        let world = Tales::new();
        let tale = world.tell(&mut ChaCha8Rng::seed_from_u64(2)).text;
        for broken in [&tale[1..], &tale[..tale.len() - 1], &format!("{tale} "), ""] {
            assert_eq!(world.read(broken), None);
        }
    }

    /// The mean over tales told is within four standard errors of the mean over all.
    #[test]
    fn sampling_agrees_with_the_exact_entropy() {
        let world = Tales::new();
        let exact = check::mean(&world.grammar).unwrap();
        let tales = tales(&world, 3, 20_000);
        let agrees = |values: Vec<f64>, exact: f64| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            assert!((mean - exact).abs() < 4.0 * (variance / n).sqrt(), "{mean} is not {exact}");
        };
        agrees(tales.iter().map(|tale| tale.nats).collect(), exact.nats);
        agrees(tales.iter().map(|tale| tale.text.len() as f64).collect(), exact.chars);
    }

    #[test]
    fn a_seed_is_a_corpus() {
        let world = Tales::new();
        let corpus = world.corpus(7, 50_000);
        assert_eq!(corpus.text, world.corpus(7, 50_000).text);
        assert_ne!(corpus.text, world.corpus(8, 50_000).text);
        assert!(corpus.text.is_ascii() && (50_000..51_000).contains(&corpus.text.len()));
        assert!((corpus.nats_per_char() / world.entropy_rate() - 1.0).abs() < 0.05);
        assert!((corpus.val_nats_per_char() / world.entropy_rate() - 1.0).abs() < 0.1);
    }

    #[test]
    fn the_parts_of_a_corpus_are_tales_and_their_nats_add_up() {
        let world = Tales::new();
        let corpus = world.corpus(4, 20_000);
        let read = |text| world.read(text).expect("a tale of the corpus is a tale of the world");
        let nats: f64 = corpus.text.split_terminator(SEPARATOR).map(|text| read(text).nats).sum();
        assert!((nats / corpus.text.len() as f64 - corpus.nats_per_char()).abs() < 1e-9);
    }

    /// Eight titles have forms for both sexes, and so have brother and sister among the bonds.
    #[test]
    fn king_is_to_queen_as_man_is_to_woman() {
        let analogies = Tales::new().analogies();
        assert_eq!(analogies.len(), 9 * 8 * 2);
        for wanted in [
            ["king", "queen", "man", "woman"],
            ["woman", "man", "queen", "king"],
            ["brother", "sister", "boy", "girl"],
        ] {
            assert!(analogies.contains(&wanted.map(str::to_owned)));
        }
        assert!(analogies.iter().flatten().all(|word| word != "friend"));
    }

    /// Written by hand from `data/tales.toml`, so that facts are what a reader would say they are.
    #[test]
    fn facts_follow_the_text() {
        let text = "Adam was a kind king who wore a golden crown. He had a tiny ring. Emma, a shy woman who worked \
                    in the fields, was his cousin. One cold morning Adam put the ring in a box at the mill. Then he \
                    left for the lake. While he was away, Emma moved the ring to a jar. When Adam came back to the mill, \
                    the box was empty, for the ring was in the jar. The king went home to the palace without it.";
        let tale = Tales::new().read(text).expect("it follows the grammar");
        let last = |subject: &str, relation: &str| {
            let found =
                tale.facts.iter().rev().find(|fact| fact.subject == subject && fact.relation == relation);
            found.map(|fact| fact.object.as_str())
        };
        assert_eq!(last("Adam", "is a"), Some("king"));
        assert_eq!(last("Adam", "is by nature"), Some("kind"));
        assert_eq!(last("Emma", "is a"), Some("woman"));
        assert_eq!(last("the ring", "is"), Some("in the jar"));
        assert_eq!(last("the ring", "looks"), Some("tiny"));
        assert_eq!(last("the box", "is"), Some("at the mill"));
        assert_eq!(last("Adam", "is"), Some("at the palace"));
        assert_eq!(last("Adam", "knows where the ring is"), Some("no"));
        assert_eq!(last("Emma", "knows where the ring is"), Some("yes"));
    }
}
