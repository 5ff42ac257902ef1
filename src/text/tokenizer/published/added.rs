//! Added tokens: those that a text is cut at before anything else is done with it.

use std::collections::{HashMap, HashSet};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use serde::Deserialize;
use tokenizers::normalizer::{NormalizedString, Range};
use tokenizers::{Normalizer, NormalizerWrapper, Token};

use super::caught::caught;

/// An entry of `added_tokens`.
#[derive(Clone, Debug, Deserialize)]
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

/// Which bytes of a text were written by others than the form of a conversation. No special token holds one.
#[derive(Clone, Copy, Debug)]
pub enum Foreign<'a> {
    All,
    /// In ascending order.
    At(&'a [usize]),
}

impl Foreign<'_> {
    fn touches(self, start: usize, end: usize) -> bool {
        match self {
            Self::All => true,
            Self::At(places) => places[places.partition_point(|&place| place < start)..]
                .first()
                .is_some_and(|&place| place < end),
        }
    }
}

/// The added tokens of a tokenizer.
#[derive(Debug)]
pub struct Added {
    ids: HashSet<u32>,
    control: HashMap<u32, String>,
    /// What the text is searched for as it is.
    raw: Patterns,
    /// What it is searched for once it is normalized.
    normalized: Patterns,
}

#[derive(Debug, Default)]
struct Patterns {
    /// `None` where there is no pattern.
    automaton: Option<AhoCorasick>,
    /// By the number of its pattern.
    tokens: Vec<AddedToken>,
}

/// A piece of a text, and its token if it is one.
pub type Piece = (NormalizedString, Option<Vec<Token>>);

impl Added {
    pub fn new(
        tokens: Vec<AddedToken>,
        control: HashMap<u32, String>,
        normalizer: Option<&NormalizerWrapper>,
    ) -> Result<Self, String> {
        let ids = tokens.iter().map(|token| token.id).collect();
        let (normalized, raw): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| token.normalized);
        let written = |token: &AddedToken| -> Result<String, String> {
            let mut text = NormalizedString::from(token.content.as_str());
            if let Some(normalizer) = normalizer {
                caught(|| normalizer.normalize(&mut text))?;
            }
            Ok(text.get().to_owned())
        };
        let of_normalized = normalized.iter().map(written).collect::<Result<Vec<_>, _>>()?;
        let of_raw = raw.iter().map(|token| token.content.clone()).collect();
        Ok(Self {
            ids,
            control,
            raw: Patterns::new(of_raw, raw)?,
            normalized: Patterns::new(of_normalized, normalized)?,
        })
    }

    /// Whether a token is one of the added.
    pub fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Whether only the form of a conversation may write it.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.contains_key(&id)
    }

    pub fn control_tokens(&self) -> impl Iterator<Item = &str> {
        self.control.values().map(String::as_str)
    }

    /// Cuts a text that is not normalized yet.
    pub fn cut(&self, text: NormalizedString, foreign: Foreign<'_>) -> tokenizers::Result<Vec<Piece>> {
        self.cut_at(&self.raw, text, foreign)
    }

    /// Cuts a text that is normalized.
    pub fn cut_normalized(
        &self,
        text: NormalizedString,
        foreign: Foreign<'_>,
    ) -> tokenizers::Result<Vec<Piece>> {
        self.cut_at(&self.normalized, text, foreign)
    }

    /// As the library does, but for control tokens that others wrote: those are passed over, and what begins within
    /// them is looked at.
    fn cut_at(
        &self,
        patterns: &Patterns,
        text: NormalizedString,
        foreign: Foreign<'_>,
    ) -> tokenizers::Result<Vec<Piece>> {
        let Some(automaton) = &patterns.automaton else { return Ok(vec![(text, None)]) };
        let whole = text.get();
        let slice = |start: usize, end: usize| {
            text.slice(Range::Normalized(start..end)).ok_or("an added token is no part of the text")
        };
        let mut pieces = Vec::new();
        // Up to `done` all is cut; from `at` on there may be more.
        let (mut done, mut at) = (0, 0);
        while let Some(found) = automaton.find(Input::new(whole).span(at..whole.len())) {
            let token = &patterns.tokens[found.pattern().as_usize()];
            let (mut start, mut end) = (found.start(), found.end());
            if self.is_control(token.id) {
                let piece = slice(start, end)?;
                let (first, last) = piece.offsets_original();
                // What only looks like it once it is normalized, a text's guard would not know.
                if foreign.touches(first, last) || piece.get_original() != token.content {
                    at = start + whole[start..].chars().next().map_or(1, char::len_utf8);
                    continue;
                }
            }
            at = end;
            if token.single_word && (ends_in_word(&whole[..start]) || begins_with_word(&whole[end..])) {
                continue;
            }
            if token.lstrip {
                start = whole[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end += whole[end..].len() - whole[end..].trim_start().len();
            }
            if done < start {
                pieces.push((slice(done, start)?, None));
            }
            let piece = slice(start, end)?;
            let tokens = vec![Token::new(token.id, piece.get().to_owned(), (0, end - start))];
            pieces.push((piece, Some(tokens)));
            (done, at) = (end, end);
        }
        if done == 0 {
            return Ok(vec![(text, None)]);
        }
        if done < whole.len() {
            pieces.push((slice(done, whole.len())?, None));
        }
        Ok(pieces)
    }
}

impl Patterns {
    fn new(patterns: Vec<String>, tokens: Vec<AddedToken>) -> Result<Self, String> {
        if let Some(empty) = patterns.iter().position(String::is_empty) {
            return Err(format!(
                "its added token {:?} is empty once it is normalized",
                tokens[empty].content
            ));
        }
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .map_err(|error| format!("its added_tokens cannot be searched for: {error}"))?;
        Ok(Self { automaton: Some(automaton), tokens })
    }
}

/// The library's `\w`: what `regex` calls a word.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

fn begins_with_word(text: &str) -> bool {
    text.chars().next().is_some_and(is_word)
}
