//! GPT-2's rule of words over ASCII by hand, and the tokens of words that were seen before: what takes long is done once
//! for each word.
//!
//! The rule is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. Whatever is not ASCII is
//! left to the library that knows all of Unicode.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::pieces::word_end;

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// A word.
    Word(&'a str),
    /// Words that are not all ASCII, to be split otherwise. No word reaches over its ends.
    Other(&'a str),
}

/// The spans of `text`, one after the other.
pub fn split<'a>(text: &'a str, on_span: &mut impl FnMut(Span<'a>)) {
    let bytes = text.as_bytes();
    let mut begin = 0;
    while begin < bytes.len() {
        let Some(found) = bytes[begin..].iter().position(|byte| !byte.is_ascii()) else {
            return ascii(&text[begin..], on_span);
        };
        let found = begin + found;
        let first = (begin + 1..found).rev().find(|&at| word_end(bytes, at)).unwrap_or(begin);
        let last = (found + 1..bytes.len()).find(|&at| word_end(bytes, at)).unwrap_or(bytes.len());
        ascii(&text[begin..first], on_span);
        on_span(Span::Other(&text[first..last]));
        begin = last;
    }
}

/// What a byte is to the rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Blank,
    Sign,
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => Kind::Letter,
        b'0'..=b'9' => Kind::Number,
        b' ' | b'\t'..=b'\r' => Kind::Blank,
        _ => Kind::Sign,
    }
}

fn ascii<'a>(text: &'a str, on_span: &mut impl FnMut(Span<'a>)) {
    let bytes = text.as_bytes();
    let run = |from: usize, of: Kind| {
        bytes[from..].iter().position(|&byte| kind(byte) != of).map_or(bytes.len(), |length| from + length)
    };
    let mut begin = 0;
    while begin < bytes.len() {
        let end = match bytes[begin..] {
            [b'\'', b's' | b't' | b'm' | b'd', ..] => begin + 2,
            [b'\'', b'r', b'e', ..] | [b'\'', b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => begin + 3,
            [b' ', next, ..] if kind(next) != Kind::Blank => run(begin + 1, kind(next)),
            [first, ..] if kind(first) != Kind::Blank => run(begin, kind(first)),
            _ => match run(begin, Kind::Blank) {
                end if end == bytes.len() || end == begin + 1 => end,
                // The last one belongs to what follows.
                end => end - 1,
            },
        };
        on_span(Span::Word(&text[begin..end]));
        begin = end;
    }
}

/// Threads that have a memory of their own.
const SHARDS: usize = 16;
/// Words that each remembers.
const MOST: usize = 1 << 16;
/// Longer words hardly come again.
const LONGEST: usize = 48;

/// The tokens of words that were seen before. Words that come once there is no room are not kept.
#[derive(Debug)]
pub struct Memory([Mutex<Known>; SHARDS]);

/// The tokens of each word.
type Known = HashMap<Box<str>, Box<[u32]>>;

impl Default for Memory {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Memory {
    /// The tokens of `text`: of its words by `encode` unless they are known, and of other stretches by `other`.
    pub fn encode<E>(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, E>,
        other: impl Fn(&str) -> Result<Vec<u32>, E>,
    ) -> Result<Vec<u32>, E> {
        let thread = rayon::current_thread_index().unwrap_or(0);
        // A thread that panicked left whole words.
        let mut known = self.0[thread % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        let (mut ids, mut failed) = (Vec::with_capacity(text.len() / 3), None);
        split(text, &mut |span| {
            let made = match span {
                Span::Word(word) => match known.get(word) {
                    Some(found) => {
                        ids.extend_from_slice(found);
                        return;
                    }
                    None => encode(word).inspect(|made| {
                        if word.len() <= LONGEST && known.len() < MOST {
                            known.insert(word.into(), made.as_slice().into());
                        }
                    }),
                },
                Span::Other(text) => other(text),
            };
            match made {
                Ok(made) => ids.extend(made),
                Err(error) => failed = Some(error),
            }
        });
        failed.map_or(Ok(ids), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use tiktoken_rs::r50k_base_singleton;

    use super::*;
    use crate::text::dataset::below;

    const PARTS: [&str; 24] = [
        "a", "it", "Ab", "7", "42", " ", "  ", "\n", "\r\n", "\t", "\u{b}", "\u{1c}", "'s", "'ll", "'",
        "'re", "'v", "...", "_", "$", "é", "\u{a0}", "中文", "🙂",
    ];

    /// OpenAI's own splitting and merging.
    #[test]
    fn words_and_tokens_are_those_of_the_reference() {
        let reference = r50k_base_singleton();
        let memory = Memory::default();
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for round in 0..3000 {
            // Half of the texts are ASCII.
            let kinds = if round % 2 == 0 { 20 } else { PARTS.len() };
            let text: String = (0..30).map(|_| PARTS[below(kinds, &mut rng)]).collect();
            let whole = |text: &str| Ok::<_, Infallible>(reference.encode_ordinary(text));
            let Ok(ids) = memory.encode(&text, whole, whole);
            assert_eq!(ids, reference.encode_ordinary(&text), "{text:?}");
            let mut spans = Vec::new();
            split(&text, &mut |span| spans.push(span));
            let parts = spans.iter().map(|&(Span::Word(part) | Span::Other(part))| part);
            assert_eq!(parts.collect::<String>(), text);
            assert!(kinds > 20 || spans.iter().all(|span| matches!(span, Span::Word(_))));
        }
    }

    #[test]
    fn words_by_hand() {
        let mut words = Vec::new();
        split("It's 12 o'clock,\n\n  \"we'll\" go\t. ", &mut |span| words.push(span));
        let wanted = [
            "It", "'s", " 12", " o", "'", "clock", ",", "\n\n ", " \"", "we", "'ll", "\"", " go", "\t", ".",
            " ",
        ];
        assert_eq!(words, wanted.map(Span::Word));
        words.clear();
        split("one two thrée four", &mut |span| words.push(span));
        assert_eq!(
            words,
            [Span::Word("one"), Span::Word(" two"), Span::Other(" thrée"), Span::Word(" four")]
        );
    }
}
