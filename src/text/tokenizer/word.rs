//! One token per word: a run of letters and digits, or any one other character, so that a text comes back as it was.
//!
//! The vocabulary is that of the corpus, the most frequent word first; equally frequent ones in the order of their
//! characters.

use std::collections::{BTreeMap, HashMap};

use super::TokenizerError;

/// The regular expression of a word.
pub(super) const PATTERN: &str = r"[\p{Alphabetic}\p{N}]+|[\s\S]";

/// The words of a corpus; a word's id is its place by frequency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordLevel {
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

/// The words of a text, in order: put together they are the text.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match first.is_alphanumeric() {
            true => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// The first position from byte `at` on that is inside no word.
pub(super) fn cut(text: &str, at: usize) -> usize {
    let (before, after) = text.split_at(at);
    match before.ends_with(char::is_alphanumeric) {
        true => at + after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len()),
        false => at,
    }
}

impl WordLevel {
    /// The vocabulary of `corpus`: its distinct words.
    pub fn from_corpus(corpus: &str) -> Result<Self, TokenizerError> {
        let mut counts = BTreeMap::<&str, u64>::new();
        split(corpus).for_each(|word| *counts.entry(word).or_default() += 1);
        Self::from_counts(counts)
    }

    /// Of words and how often each occurs.
    pub(super) fn from_counts(counts: BTreeMap<impl Into<String>, u64>) -> Result<Self, TokenizerError> {
        if counts.is_empty() {
            return Err(TokenizerError::EmptyCorpus);
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        // Stable: the order of the map remains where counts are equal.
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(Self::from_words(counts.into_iter().map(|(word, _)| word.into()).collect()))
    }

    pub(super) fn from_words(words: Vec<String>) -> Self {
        let ids = words.iter().cloned().zip(0..).collect();
        Self { words, ids }
    }

    /// The words in order of id.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let id = |word: &str| match self.ids.get(word) {
            Some(&id) => Ok(id),
            None => Err(TokenizerError::UnknownWord { word: word.to_owned(), vocabulary: self.words.len() }),
        };
        split(text).map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let all: Vec<_> = split("Café's — 12cats\n\nno").collect();
        assert_eq!(all, ["Café", "'", "s", " ", "—", " ", "12cats", "\n", "\n", "no"]);
    }

    #[test]
    fn a_cut_goes_round_words() {
        let cuts: Vec<_> = (0..=9).map(|at| cut("ab, cd 12", at)).collect();
        assert_eq!(cuts, [0, 2, 2, 3, 4, 6, 6, 7, 9, 9]);
    }

    #[test]
    fn ids_follow_frequency_then_characters() {
        let words = WordLevel::from_corpus("the cat, the hat").unwrap();
        assert_eq!(words.words(), [" ", "the", ",", "cat", "hat"]);
        assert_eq!(words.encode("hat the,cat").unwrap(), [4, 0, 1, 2, 3]);
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = WordLevel::from_corpus("a cat").unwrap().encode("a dog").unwrap_err().to_string();
        assert!(error.contains("\"dog\"") && error.contains("the 3 words"), "{error}");
        assert!(matches!(WordLevel::from_corpus(""), Err(TokenizerError::EmptyCorpus)));
    }

    /// Hugging Face's own library reads the file and cuts texts into the same words.
    #[test]
    fn others_split_as_it_does() {
        let text = "Zoë's 12th cat — Ⅻ, x² 今日は\n\tend.";
        let ours = super::super::Tokenizer::from_name("word", text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        ours.save(folder.path()).unwrap();
        let theirs = tokenizers::Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
        let ids = theirs.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids, ours.encode(text).unwrap());
        assert_eq!(theirs.decode(&ids, false).unwrap(), text);
    }
}
