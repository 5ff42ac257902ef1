//! Tokenizers learned from texts that come one after the other, and need not fit into memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bpe, ByteLevel, CharLevel, Gpt2, TRAINED, Tokenizer, TokenizerError, WordLevel, pieces, word};

impl Tokenizer {
    /// Whether a tokenizer of this name takes its vocabulary from texts.
    pub fn learns(name: &str) -> bool {
        name == "char" || name == "word" || Self::learns_merges(name)
    }

    /// Whether what it takes is better for more texts, and not wrong for fewer.
    pub fn learns_merges(name: &str) -> bool {
        name.starts_with(TRAINED)
    }

    /// The tokenizer called `name`, as [`from_name`](Self::from_name) makes it of all `texts` together; but that no
    /// word reaches from one into the next.
    ///
    /// # Errors
    /// The first among the texts.
    pub fn learn<E: From<TokenizerError> + Send>(
        name: &str,
        texts: impl Iterator<Item = Result<String, E>> + Send,
    ) -> Result<Self, E> {
        let mut failed = None;
        // Those before the first error.
        let mut texts = texts.map_while(|text| text.map_err(|error| failed = Some(error)).ok());
        let learned = match name {
            "char" => {
                let mut characters = BTreeSet::new();
                texts.for_each(|text| characters.extend(text.chars()));
                CharLevel::from_characters(characters).map(Self::Char)
            }
            "word" => {
                let mut counts = BTreeMap::<String, u64>::new();
                texts.for_each(|text| {
                    for word in word::split(&text) {
                        match counts.get_mut(word) {
                            Some(count) => *count += 1,
                            None => drop(counts.insert(word.to_owned(), 1)),
                        }
                    }
                });
                WordLevel::from_counts(counts).map(Self::Word)
            }
            "byte" => Ok(Self::Byte(ByteLevel)),
            "gpt2" => Ok(Self::Gpt2(Gpt2)),
            _ => match name.strip_prefix(TRAINED).and_then(|size| size.parse().ok()) {
                Some(size) => {
                    let mut rest = Vec::new().into_iter();
                    // One piece after the other: all of a text at once would take much memory.
                    let pieces = std::iter::from_fn(|| {
                        loop {
                            if let Some(piece) = rest.next() {
                                return Some(piece);
                            }
                            let text = texts.next()?;
                            rest = pieces::pieces(&text).map(str::to_owned).collect::<Vec<_>>().into_iter();
                        }
                    });
                    Bpe::learn(pieces, size).map(Self::Bpe)
                }
                None => Self::from_name(name, ""),
            },
        };
        match failed {
            Some(error) => Err(error),
            None => Ok(learned?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tales::Tales;

    #[test]
    fn texts_in_pieces_teach_what_the_whole_teaches() {
        let text = Tales::new().corpus(2, 30_000).text;
        let mut pieces = Vec::new();
        let mut rest = &*text;
        while let Some(at) = (500..rest.len()).find(|&at| pieces::word_end(rest.as_bytes(), at)) {
            let (piece, after) = rest.split_at(at);
            pieces.push(piece.to_owned());
            rest = after;
        }
        pieces.push(rest.to_owned());
        assert!(pieces.len() > 50);
        for name in ["char", "word", "byte", "bpe:300"] {
            let texts = pieces.iter().cloned().map(Ok::<_, TokenizerError>);
            assert_eq!(
                Tokenizer::learn(name, texts).unwrap(),
                Tokenizer::from_name(name, &text).unwrap(),
                "{name}"
            );
        }
    }

    #[test]
    fn an_error_among_the_texts_is_given() {
        let texts = || [Ok("abc".to_owned()), Err(TokenizerError::OfAModel)].into_iter();
        for name in ["char", "word", "bpe:300"] {
            let error = Tokenizer::learn(name, texts()).unwrap_err();
            assert!(matches!(error, TokenizerError::OfAModel), "{name}: {error}");
        }
        let none = std::iter::empty::<Result<String, TokenizerError>>();
        assert!(matches!(Tokenizer::learn("words", none), Err(TokenizerError::UnknownName(_))));
    }
}
