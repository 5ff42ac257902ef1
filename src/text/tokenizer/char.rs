//! One token per character, the vocabulary being the characters of the corpus in code-point order
//! (nanoGPT's `data/shakespeare_char`). Small enough to train in minutes, and nothing to explain.

use std::collections::BTreeSet;

use super::TokenizerError;

/// A sorted set of characters; a character's id is its place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharLevel {
    sorted: Vec<char>,
}

impl CharLevel {
    /// The vocabulary of `corpus`: its distinct characters.
    pub fn from_corpus(corpus: &str) -> Result<Self, TokenizerError> {
        Self::from_characters(corpus.chars().collect())
    }

    pub(super) fn from_characters(set: BTreeSet<char>) -> Result<Self, TokenizerError> {
        if set.is_empty() {
            return Err(TokenizerError::EmptyCorpus);
        }
        Ok(Self { sorted: set.into_iter().collect() })
    }

    /// The characters in order of id.
    pub fn characters(&self) -> &[char] {
        &self.sorted
    }

    pub(super) fn character(&self, id: u32) -> Option<char> {
        self.sorted.get(id as usize).copied()
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let id = |(position, character)| match self.sorted.binary_search(&character) {
            Ok(id) => Ok(id as u32),
            Err(_) => {
                Err(TokenizerError::UnknownCharacter { character, position, vocabulary: self.sorted.len() })
            }
        };
        text.chars().enumerate().map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_code_points() {
        let t = CharLevel::from_corpus("hello\n").unwrap();
        assert_eq!(t.characters(), ['\n', 'e', 'h', 'l', 'o']);
        assert_eq!(t.encode("hole").unwrap(), [2, 4, 3, 1]);
    }

    /// nanoGPT prints these 65 characters when it prepares TinyShakespeare, and encodes "hii there" as the
    /// ids below in Karpathy's lecture "Let's build GPT".
    #[test]
    fn the_characters_of_tiny_shakespeare() {
        let published = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let t = CharLevel::from_corpus(published).unwrap();
        assert_eq!(t.characters().len(), 65);
        assert_eq!(t.encode("hii there").unwrap(), [46, 47, 47, 1, 58, 46, 43, 56, 43]);
    }

    #[test]
    fn an_unknown_character_is_named_and_placed() {
        let error = CharLevel::from_corpus("abc").unwrap().encode("aébc").unwrap_err().to_string();
        assert!(error.contains("'é' (U+00E9), number 1"), "{error}");
        assert!(error.contains("the 3 characters"), "{error}");
    }

    #[test]
    fn an_empty_corpus_is_refused() {
        assert!(matches!(CharLevel::from_corpus(""), Err(TokenizerError::EmptyCorpus)));
    }
}
