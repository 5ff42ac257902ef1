//! What anyone could guess of a tale with characters hidden: the grammar's own answer to BERT's question.
//!
//! A tale is a code without ambiguity, so every tale that agrees with what is seen can be found by trying all
//! choices, and has a known probability. Among these tales the chance that a hidden character is an `e` is the
//! probability of those that have an `e` there, and no guess is better than the likeliest.

use std::collections::BTreeMap;

use super::Tales;
use super::telling::Telling;
use crate::text::masked::{MASKED, REPLACED};

/// How a character of a tale is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As it is.
    Plain(u8),
    /// In question and covered.
    Covered,
    /// In question, and this is shown: what it is, or in as many cases any character.
    Doubtful(u8),
}

/// The best guess at a character in question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Its byte in the tale.
    pub at: usize,
    pub character: u8,
    /// The chance that the guess is right.
    pub probability: f64,
}

impl Seen {
    /// What being seen so says for a character, up to a factor; `n_characters` are all that may be shown.
    fn likelihood(self, is: u8, n_characters: usize) -> f64 {
        match self {
            Self::Plain(shown) => f64::from(u8::from(shown == is)),
            Self::Covered => 1.0,
            Self::Doubtful(shown) => {
                let kept = 1.0 - MASKED - REPLACED;
                REPLACED / n_characters as f64 + if shown == is { kept } else { 0.0 }
            }
        }
    }
}

impl Tales {
    /// The best guess at each character in question of a tale (without its separator) seen in this way; none if
    /// no tale can look so. The tale is ASCII.
    pub fn guesses(&self, seen: &[Seen], n_characters: usize) -> Vec<Guess> {
        // For each character in question what it may be, and the probability of all tales in which it is.
        let in_question = seen.iter().enumerate().filter(|(_, seen)| !matches!(seen, Seen::Plain(_)));
        let mut may_be: Vec<(usize, BTreeMap<u8, f64>)> =
            in_question.map(|(at, _)| (at, BTreeMap::new())).collect();
        let mut open = vec![(Telling::new(&self.grammar), 1.0)];
        while let Some((mut telling, mut likelihood)) = open.pop() {
            let told = telling.tale.text.len();
            let choice = telling.next();
            likelihood *= agreement(&telling, told, seen, n_characters);
            if likelihood == 0.0 {
                continue;
            }
            match choice {
                Some(choice) => {
                    for option in 0..choice.len() {
                        let mut branch = telling.clone();
                        let told = branch.tale.text.len();
                        branch.take(&choice, option);
                        let agrees = agreement(&branch, told, seen, n_characters);
                        if agrees > 0.0 {
                            open.push((branch, likelihood * agrees));
                        }
                    }
                }
                None if telling.tale.text.len() == seen.len() => {
                    let probability = likelihood * (-telling.tale.nats).exp();
                    for (at, characters) in &mut may_be {
                        *characters.entry(telling.tale.text.as_bytes()[*at]).or_insert(0.0) += probability;
                    }
                }
                None => {}
            }
        }
        let guess = |(at, characters): (usize, BTreeMap<u8, f64>)| {
            let all: f64 = characters.values().sum();
            let (character, probability) = characters.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
            Some(Guess { at, character, probability: probability / all })
        };
        may_be.into_iter().filter_map(guess).collect()
    }
}

/// How well the text from byte `told` on agrees with what is seen; 0 if it continues after its end.
fn agreement(telling: &Telling, told: usize, seen: &[Seen], n_characters: usize) -> f64 {
    let text = &telling.tale.text.as_bytes()[told..];
    let Some(seen) = seen.get(told..told + text.len()) else { return 0.0 };
    seen.iter().zip(text).map(|(seen, &is)| seen.likelihood(is, n_characters)).product()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::text::dataset::{below, unit};

    /// Two tales, "a cat." with 3/4 and "a cow." with 1/4, and one that is longer.
    fn small() -> Tales {
        let rules = r#"
            [slots]
            [sexes]
            [words]
            [rules]
            tale = [{ weight = 6, say = "a <pet>." }, { weight = 2, say = "the end of it." }]
            pet = [{ weight = 3, say = "cat" }, { weight = 1, say = "cow" }]
        "#;
        Tales::from_toml(rules).unwrap()
    }

    fn seen(text: &str) -> Vec<Seen> {
        text.bytes().map(|c| if c == b'_' { Seen::Covered } else { Seen::Plain(c) }).collect()
    }

    #[test]
    fn chances_are_those_of_the_grammar() {
        let guess = |at, character: char, probability| Guess { at, character: character as u8, probability };
        let world = small();
        assert_eq!(world.guesses(&seen("a c__."), 26), [guess(3, 'a', 0.75), guess(4, 't', 0.75)]);
        assert_eq!(world.guesses(&seen("a c_w."), 26), [guess(3, 'o', 1.0)]);
        assert_eq!(world.guesses(&seen("a d__."), 26), []);
        // An "o" is shown that is true in half of the cases and in the others any of 26: odds of 1 : 27 for an
        // "o", times the 1 : 3 of the grammar the other way.
        let mut doubtful = seen("a c__.");
        doubtful[3] = Seen::Doubtful(b'o');
        let got = world.guesses(&doubtful, 26)[0];
        assert_eq!(got.character, b'o');
        assert!((got.probability - 0.9).abs() < 1e-12, "{got:?}");
    }

    /// Guesses are right as often as they say: over thousands of hidden characters, within four standard errors.
    #[test]
    fn guesses_are_as_good_as_they_say() {
        let world = Tales::new();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut right, mut expected, mut variance, mut asked) = (0.0, 0.0, 0.0, 0);
        for _ in 0..300 {
            let tale = world.tell(&mut rng).text;
            // A tenth is chosen; of these eight in ten are covered, one is shown, one is any of eight characters.
            let fate = |c: u8, rng: &mut ChaCha8Rng| match (100.0 * unit(rng)) as u32 {
                0..8 => Seen::Covered,
                8 => Seen::Doubtful(c),
                9 => Seen::Doubtful(b"abcdefgh"[below(8, rng)]),
                _ => Seen::Plain(c),
            };
            let seen: Vec<_> = tale.bytes().map(|c| fate(c, &mut rng)).collect();
            for Guess { at, character, probability } in world.guesses(&seen, 8) {
                right += f64::from(u8::from(tale.as_bytes()[at] == character));
                expected += probability;
                variance += probability * (1.0 - probability);
                asked += 1;
            }
        }
        assert!(asked > 5000 && expected < f64::from(asked));
        assert!((right - expected).abs() < 4.0 * variance.sqrt(), "{right} of {asked} instead of {expected}");
    }
}
