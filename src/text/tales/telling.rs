//! A tale in generation: a state machine that runs until a choice is needed.
//!
//! Telling at random, reading a text back and proving that there is one way to read it differ only in
//! who makes the choices.

use rand_chacha::rand_core::Rng;

use super::grammar::{Alternative, Grammar, Mention, Unit};
use super::{Fact, Tale};
use crate::text::dataset::{below, pick};

/// An unfinished tale: its text so far, the people and things in it, and the rules still to expand.
#[derive(Clone)]
pub(super) struct Telling<'g> {
    grammar: &'g Grammar,
    /// What is left to say, the next unit last.
    ahead: Vec<&'g Unit>,
    /// The word each slot holds.
    cast: Vec<Option<usize>>,
    pub tale: Tale,
}

/// What a telling cannot decide by itself.
pub(super) enum Choice<'g> {
    /// Which of the free words a slot is to hold; all are equally likely.
    Word { mention: &'g Mention, free: Vec<usize> },
    /// Which way a rule goes.
    Way(&'g [Alternative]),
}

impl Choice<'_> {
    /// The number of options: at least one.
    pub fn len(&self) -> usize {
        match self {
            Self::Word { free, .. } => free.len(),
            Self::Way(alternatives) => alternatives.len(),
        }
    }

    fn probability(&self, option: usize) -> f64 {
        match self {
            Self::Word { free, .. } => 1.0 / free.len() as f64,
            Self::Way(alternatives) => alternatives[option].probability,
        }
    }

    /// One option at random.
    pub fn pick(&self, rng: &mut impl Rng) -> usize {
        match self {
            Self::Word { free, .. } => below(free.len(), rng),
            Self::Way(alternatives) => pick(alternatives.iter().map(|way| way.probability), rng),
        }
    }
}

impl<'g> Telling<'g> {
    pub fn new(grammar: &'g Grammar) -> Self {
        let cast = vec![None; grammar.slots.len()];
        Self { grammar, ahead: vec![&grammar.start], cast, tale: Tale::default() }
    }

    /// Continues to the next choice; `None` at the end of the tale.
    pub fn next(&mut self) -> Option<Choice<'g>> {
        while let Some(unit) = self.ahead.pop() {
            match unit {
                Unit::Char(c) => self.tale.text.push(*c),
                Unit::Mention(mention) if self.cast[mention.slot].is_some() => self.say(mention),
                Unit::Mention(mention) => {
                    let free = self.grammar.free_words(mention.slot, &self.cast);
                    return Some(Choice::Word { mention, free });
                }
                Unit::Rule(rule) => return Some(Choice::Way(&self.grammar.rules[*rule].alternatives)),
                Unit::Fact([subject, relation, object]) => {
                    let [subject, relation, object] =
                        [subject, relation, object].map(|part| self.phrase(part));
                    self.tale.facts.push(Fact { subject, relation, object });
                }
            }
        }
        None
    }

    /// Makes the choice that [`next`](Telling::next) asked for.
    pub fn take(&mut self, choice: &Choice<'g>, option: usize) {
        let nats = -choice.probability(option).ln();
        self.tale.nats += nats;
        self.tale.choices.push((self.tale.text.len(), nats));
        match choice {
            Choice::Word { mention, free } => {
                self.cast[mention.slot] = Some(free[option]);
                self.say(mention);
            }
            Choice::Way(alternatives) => self.ahead.extend(alternatives[option].units.iter().rev()),
        }
    }

    fn say(&mut self, mention: &Mention) {
        self.tale.text.push_str(self.grammar.spell(mention, &self.cast));
    }

    /// A part of a fact, which holds nothing but characters and words already drawn.
    fn phrase(&self, units: &[Unit]) -> String {
        let mut phrase = String::new();
        for unit in units {
            match unit {
                Unit::Char(c) => phrase.push(*c),
                Unit::Mention(mention) => phrase.push_str(self.grammar.spell(mention, &self.cast)),
                Unit::Rule(_) | Unit::Fact(_) => {}
            }
        }
        phrase
    }
}
