//! Tokenizers: text to numbers and back.
//!
//! | name | a token is | vocabulary |
//! |---|---|---|
//! | `char` | a character of the corpus | the corpus' distinct characters, sorted (nanoGPT) |
//! | `word` | a word of the corpus, or one other character | the corpus' distinct words |
//! | `byte` | a byte of UTF-8 | 256 |
//! | `bpe:N` | a byte-pair-encoded piece, learned from the corpus (Sennrich, Haddow & Birch 2016) | N |
//! | `gpt2` | a byte-pair-encoded piece (Radford et al. 2019) | 50,257 |
//!
//! Each can be [extended](special) by tokens that no text contains. All are saved as a Hugging Face `tokenizers`
//! file, which `transformers` loads. Any other file of that kind is a [`published`] tokenizer, and keeps its bytes.

mod agreement;
pub mod bpe;
pub mod byte;
pub mod char;
mod file;
mod folder;
pub mod gguf;
mod learn;
mod pieces;
pub mod published;
mod published_file;
pub mod special;
mod stream;
pub mod trained;
pub mod word;
mod words;

use std::path::PathBuf;

use sha2::{Digest, Sha256};

pub use bpe::Gpt2;
pub use byte::ByteLevel;
pub use char::CharLevel;
pub use folder::FILES;
pub use pieces::word_end;
pub use published::{Published, catches_panics};
pub use special::{Extended, Special};
pub use stream::Stream;
pub use trained::Bpe;
pub use word::WordLevel;

/// The names [`Tokenizer::from_name`] takes besides `bpe:N`.
pub const NAMES: [&str; 4] = ["char", "byte", "word", "gpt2"];

/// What a trained tokenizer's name begins with; the size of the vocabulary follows.
const TRAINED: &str = "bpe:";
/// The name of a tokenizer that came with a published model: no text makes one.
const PUBLISHED: &str = "published";

/// A fixed vocabulary, and the two functions between text and token ids (`u32`, below [`vocab_size`]).
///
/// [`vocab_size`]: Tokenizer::vocab_size
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    Char(CharLevel),
    Word(WordLevel),
    Byte(ByteLevel),
    Bpe(Bpe),
    Gpt2(Gpt2),
    Published(Published),
    Extended(Extended),
}

/// What can go wrong with a tokenizer, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("there is no tokenizer {0:?}: choose one of char, byte, word, bpe:N (such as bpe:512), gpt2")]
    UnknownName(String),
    #[error(
        "the tokenizer \"published\" comes with the model that a run begins from: give that model by --init"
    )]
    OfAModel,
    #[error(
        "bpe:{0} has no room: 256 of its tokens are the bytes, so choose an N above 256 and up to {max}",
        max = trained::MAX_VOCAB
    )]
    VocabularySize(usize),
    #[error(
        "bpe:{asked} needs more text: no pair of tokens occurs twice in this one once there are {have} tokens; \
         choose bpe:{have} or less, or a longer text"
    )]
    TooFewPairs { asked: usize, have: usize },
    #[error("the byte-pair encoder failed: {0}")]
    Library(String),
    #[error("a char or word tokenizer needs a text to take its tokens from, and this one is empty")]
    EmptyCorpus,
    #[error(
        "the character {character:?} (U+{:04X}), number {position} of the text counted from 0, is not among the \
         {vocabulary} characters this char tokenizer knows: leave it out, or train with the byte, bpe:N or gpt2 \
         tokenizer, which take any text",
        *character as u32
    )]
    UnknownCharacter { character: char, position: usize, vocabulary: usize },
    #[error(
        "{word:?} is not among the {vocabulary} words this word tokenizer knows: leave it out, or train with the \
         byte, bpe:N or gpt2 tokenizer, which take any text"
    )]
    UnknownWord { word: String, vocabulary: usize },
    #[error("cannot read or write {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no tokenizer that Lal can read: {what}")]
    BadFile { path: PathBuf, what: String },
}

impl Tokenizer {
    /// The tokenizer called `name` (one of [`NAMES`], or `bpe:N`); `char`, `word` and `bpe:N` take their vocabulary
    /// from `corpus`.
    pub fn from_name(name: &str, corpus: &str) -> Result<Self, TokenizerError> {
        match name {
            "char" => Ok(Self::Char(CharLevel::from_corpus(corpus)?)),
            "byte" => Ok(Self::Byte(ByteLevel)),
            "word" => Ok(Self::Word(WordLevel::from_corpus(corpus)?)),
            "gpt2" => Ok(Self::Gpt2(Gpt2)),
            PUBLISHED => Err(TokenizerError::OfAModel),
            _ => match name.strip_prefix(TRAINED).and_then(|size| size.parse().ok()) {
                Some(size) => Ok(Self::Bpe(Bpe::train(corpus, size)?)),
                None => Err(TokenizerError::UnknownName(name.to_owned())),
            },
        }
    }

    /// The name it was made by.
    pub fn name(&self) -> String {
        match self {
            Self::Char(_) => "char".into(),
            Self::Byte(_) => "byte".into(),
            Self::Word(_) => "word".into(),
            Self::Bpe(t) => format!("{TRAINED}{}", t.tokens().len()),
            Self::Gpt2(_) => "gpt2".into(),
            Self::Published(_) => PUBLISHED.into(),
            Self::Extended(t) => t.base().name(),
        }
    }

    /// How many ids there are: every id is below this.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Char(t) => t.characters().len(),
            Self::Byte(_) => 256,
            Self::Word(t) => t.words().len(),
            Self::Bpe(t) => t.tokens().len(),
            Self::Gpt2(_) => bpe::GPT2_VOCAB,
            Self::Published(t) => t.vocab_size(),
            Self::Extended(t) => t.base().vocab_size() + t.specials().len(),
        }
    }

    /// The token ids of `text`. Only `char` and `word` can fail: they know nothing outside their
    /// corpus.
    ///
    /// There are no special tokens in text: `<|endoftext|>` written out is encoded as the thirteen
    /// characters it is. The id of the real one is [`bpe::END_OF_TEXT`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self {
            Self::Char(t) => t.encode(text),
            Self::Byte(t) => Ok(t.encode(text)),
            Self::Word(t) => t.encode(text),
            Self::Bpe(t) => t.encode(text),
            Self::Gpt2(t) => Ok(t.encode(text)),
            Self::Published(t) => t.encode(text),
            Self::Extended(t) => t.base().encode(text),
        }
    }

    /// The text of `ids`; bytes that are not UTF-8, and ids outside the vocabulary, read as U+FFFD. A space that the
    /// tokenizer itself puts at the beginning of a text is left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.token_bytes(id)).collect();
        let bytes = bytes.strip_prefix(b" ").filter(|_| self.drops_first_space()).unwrap_or(&bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The ids that a model is given for a text to go on with: those of [`encode`](Self::encode), after the token that
    /// a published tokenizer begins a text with.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = match self {
            Self::Published(t) => t.around()[0].clone(),
            _ => Vec::new(),
        };
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    fn drops_first_space(&self) -> bool {
        matches!(self, Self::Published(t) if t.drops_first_space())
    }

    /// The bytes of one token: perhaps only a part of a character.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let bytes = match self {
            Self::Char(t) => t.character(id).map(|c| c.to_string().into_bytes()),
            Self::Byte(_) => u8::try_from(id).ok().map(|b| vec![b]),
            Self::Word(t) => t.words().get(id as usize).map(|word| word.clone().into_bytes()),
            Self::Bpe(t) => t.tokens().get(id as usize).cloned(),
            Self::Extended(t) => return t.token_bytes(id),
            Self::Gpt2(t) => t.token_bytes(id),
            Self::Published(t) => t.token_bytes(id),
        };
        bytes.unwrap_or_else(|| "\u{FFFD}".into())
    }

    /// A text to begin with where none is given: a line's end, or the first token that is text by itself. Empty only
    /// where there is no such token.
    pub fn opening(&self) -> String {
        let line_end = "\n".to_owned();
        if self.encode(&line_end).is_ok() {
            return line_end;
        }
        let text = |id| String::from_utf8(self.token_bytes(id)).ok();
        let readable = |text: &String| self.encode(text).is_ok_and(|ids| !ids.is_empty());
        (0..self.vocab_size() as u32).filter_map(text).find(readable).unwrap_or_default()
    }

    /// The first place from byte `at` on where a text can be cut in two that have no other tokens than the whole.
    pub(crate) fn cut(&self, text: &str, at: usize) -> usize {
        match self {
            Self::Word(_) => word::cut(text, at),
            Self::Extended(t) => t.base().cut(text, at),
            _ => at,
        }
    }

    /// A decoder for tokens that arrive one at a time.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self, self.drops_first_space())
    }

    /// The same for tokens that go on after others: a space before the first is part of the text.
    pub fn continuing_stream(&self) -> Stream<'_> {
        Stream::new(self, false)
    }

    /// 16 hexadecimal digits that change when any token does: the first 8 bytes of SHA-256 over every
    /// token's length and bytes, in order of id. A checkpoint keeps it to notice a tokenizer not its own.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for id in 0..self.vocab_size() as u32 {
            let bytes = self.token_bytes(id);
            hash.update((bytes.len() as u32).to_le_bytes());
            hash.update(&bytes);
        }
        digits(hash)
    }

    /// The same over the merges, in their order, of a tokenizer that has learned some: with equal tokens they may
    /// still give other ids.
    pub fn merges_fingerprint(&self) -> Option<String> {
        match self {
            Self::Bpe(trained) => {
                let mut hash = Sha256::new();
                for part in trained.merges().iter().flat_map(|(a, b)| [a, b]) {
                    hash.update((part.len() as u32).to_le_bytes());
                    hash.update(part);
                }
                Some(digits(hash))
            }
            Self::Extended(extended) => extended.base().merges_fingerprint(),
            Self::Published(published) => Some(published.rules_fingerprint()),
            _ => None,
        }
    }
}

/// The first 8 bytes of a hash.
fn digits(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        for unknown in ["words", "bpe", "bpe:", "bpe:many"] {
            let error = Tokenizer::from_name(unknown, "abc").unwrap_err().to_string();
            assert!(NAMES.iter().chain(&["bpe:N"]).all(|name| error.contains(name)), "{error}");
        }
    }

    #[test]
    fn every_vocabulary_has_a_text_to_begin_with() {
        let opening = |name: &str, corpus: &str| Tokenizer::from_name(name, corpus).unwrap().opening();
        assert_eq!([opening("char", "a\nb"), opening("byte", ""), opening("gpt2", "")], ["\n"; 3]);
        assert_eq!(opening("char", "GATTACA"), "A");
        assert_eq!(opening("word", "one two"), " ");
        assert_eq!(Tokenizer::from_name("char", "GATTACA").unwrap().with_mask().opening(), "A");
    }

    #[test]
    fn every_tokenizer_gives_back_what_it_was_given() {
        let text = "Good morrow, Zoë! — 今日は 🙂\n\n\tthe  end ";
        for name in NAMES.into_iter().chain(["bpe:260"]) {
            let tokenizer = Tokenizer::from_name(name, &text.repeat(2)).unwrap();
            let ids = tokenizer.encode(text).unwrap();
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            assert_eq!(tokenizer.decode(&ids), text, "{name}");
        }
    }

    #[test]
    fn an_id_outside_the_vocabulary_reads_as_the_replacement_character() {
        for name in NAMES.into_iter().chain(["bpe:257"]) {
            let tokenizer = Tokenizer::from_name(name, "abab").unwrap();
            assert_eq!(tokenizer.decode(&[tokenizer.vocab_size() as u32]), "\u{FFFD}", "{name}");
        }
    }

    #[test]
    fn fingerprints_tell_vocabularies_apart() {
        let print = |name, corpus| Tokenizer::from_name(name, corpus).unwrap().fingerprint();
        assert_eq!(print("char", "abc"), print("char", "cabbac"));
        assert_ne!(print("char", "abc"), print("char", "abd"));
        assert_ne!(print("byte", ""), print("gpt2", ""));
        assert_eq!(print("gpt2", "").len(), 16);
    }
}
