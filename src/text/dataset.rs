//! A text as two rows of tokens, and random windows from them.
//!
//! The estimator is nanoGPT's: the first 90% of the characters train, the rest validate, and every
//! sequence of a batch starts at a place drawn uniformly from all places where a whole one fits.

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::tokenizer::{Tokenizer, TokenizerError};
use super::tokens::{Tokens, TokensError};
use crate::engine::memory::available;
use crate::files;

/// The most bytes of a text: it is read whole, and its tokens and what is made on the way take up to eight times as
/// much.
pub fn text_bytes() -> u64 {
    available() / 8
}

/// Token ids of one text, split in two.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What errors call this text: a path, or a corpus' name.
    pub name: String,
    pub train: Tokens,
    pub val: Tokens,
    /// Bytes of the text of `val`: what turns nats per token into bits per byte.
    pub val_bytes: usize,
    /// How the two were told apart.
    pub held_out: HeldOut,
}

/// What a [`Dataset`] validates on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldOut {
    /// The last tenth of a text's characters, or of a file's tokens.
    LastTenth,
    /// Whole documents, one in twenty.
    Documents,
    /// Files of tokens whose names say so.
    Files,
    /// Data of its own.
    Own,
}

/// Which part of a [`Dataset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Val,
}

/// In which order the windows of a text are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// At places drawn at random, as nanoGPT has it.
    #[default]
    Random,
    /// Every window once, in an order drawn at random, before any comes again.
    Epoch,
}

/// What a batch is for. Estimating the loss must not use up, or repeat, the batches of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Training,
    Estimating,
}

/// Sequences side by side, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// (batch_size, block_size)
    pub tokens: Vec<u32>,
    /// (batch_size, block_size): to each token the one after it.
    pub targets: Vec<u32>,
}

impl Batch {
    /// A window and the token after it.
    pub fn add(&mut self, window: &[u32]) {
        self.tokens.extend_from_slice(&window[..window.len() - 1]);
        self.targets.extend_from_slice(&window[1..]);
    }
}

/// What can be wrong with a text, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error("there is no file {0}: check the path given to --data")]
    Missing(PathBuf),
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{0} is empty: give a text to learn from")]
    Empty(String),
    #[error(
        "{path} is not UTF-8 from byte {offset} on: save it as UTF-8 (for instance with iconv) and try again"
    )]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error(
        "the {part} of {name} is too short: {have} tokens, and a block of {block} needs {}; give {}{}",
        block.saturating_add(1), needed(*text_needed), smaller(*have)
    )]
    TooShort { name: String, part: &'static str, have: usize, block: usize, text_needed: Option<usize> },
    #[error("{name}: {source}")]
    Tokenizer { name: String, source: TokenizerError },
}

/// What would be enough, if one text is split.
pub fn needed(text_needed: Option<usize>) -> String {
    match text_needed {
        Some(tokens) => format!("a text of at least {tokens} tokens"),
        None => "more text, more documents (--document-separator), or a text of its own by --val-data".into(),
    }
}

/// A block that so many tokens suffice for, if any.
fn smaller(have: usize) -> String {
    if have < 2 { String::new() } else { format!(", or choose --block-size {} or less", have - 1) }
}

/// The text of a file; errors name the file, and the byte at which it stops being UTF-8.
pub fn read_text(path: &Path) -> Result<String, DatasetError> {
    let bytes = files::read(path, text_bytes()).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => DatasetError::Missing(path.to_owned()),
        _ => DatasetError::Unreadable { path: path.to_owned(), source },
    })?;
    if bytes.is_empty() {
        return Err(DatasetError::Empty(path.display().to_string()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        DatasetError::NotUtf8 { path: path.to_owned(), offset }
    })
}

/// The two parts of a text: its first ⌊0.9 n⌋ of n characters, and the rest.
pub fn split_text(text: &str) -> (&str, &str) {
    let first = text.chars().count() * 9 / 10;
    let middle = text.char_indices().nth(first).map_or(text.len(), |(byte, _)| byte);
    text.split_at(middle)
}

/// The random numbers of one batch: a function of these four alone, so that a resumed run draws what
/// an unbroken one would have drawn and its data cursor is its step number.
///
/// ChaCha8 (Bernstein 2008) keyed with the four numbers: all batches are independent streams.
pub fn batch_rng(seed: u64, purpose: Purpose, step: u64, micro_step: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, micro_step]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number below `end`, uniformly: the high half of a 128-bit product (Lemire 2019). The bias is below
/// `end` / 2⁶⁴; written out here so that no library's next version can change what a seed means.
pub(crate) fn below(end: usize, rng: &mut impl Rng) -> usize {
    ((u128::from(rng.next_u64()) * end as u128) >> 64) as usize
}

/// A number in [0, 1), uniformly: 53 bits, as fine as an f64 there can be.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A place in `probabilities`, which sum to 1, each as likely as it says.
pub(super) fn pick(probabilities: impl ExactSizeIterator<Item = f64>, rng: &mut impl Rng) -> usize {
    let last = probabilities.len().saturating_sub(1);
    let mut left = unit(rng);
    let passed = |probability: &f64| {
        left -= probability;
        left >= 0.0
    };
    // Rounding may leave a small rest; it counts to the last.
    probabilities.take_while(passed).count().min(last)
}

/// Every order is equally likely (Durstenfeld 1964).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for end in (2..=items.len()).rev() {
        items.swap(end - 1, below(end, rng));
    }
}

impl Dataset {
    /// Splits `text` and encodes both parts; `name` is what errors call it.
    pub fn new(name: &str, text: &str, tokenizer: &Tokenizer) -> Result<Self, DatasetError> {
        if text.is_empty() {
            return Err(DatasetError::Empty(name.to_owned()));
        }
        let encode = |part| {
            tokenizer.encode(part).map_err(|source| DatasetError::Tokenizer { name: name.to_owned(), source })
        };
        // Half a word may be none that a tokenizer knows.
        let (train, val) = text.split_at(tokenizer.cut(text, split_text(text).0.len()));
        Ok(Self {
            name: name.to_owned(),
            train: encode(train)?.into(),
            val: encode(val)?.into(),
            val_bytes: val.len(),
            held_out: HeldOut::LastTenth,
        })
    }

    /// The tokens of one part.
    pub fn tokens(&self, split: Split) -> &Tokens {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    /// Whether both parts hold a block of `block_size` tokens and the one that follows it.
    pub fn check(&self, block_size: usize) -> Result<(), DatasetError> {
        let val = match self.held_out {
            HeldOut::LastTenth => "validation part (the last 10%)",
            HeldOut::Documents => "validation part (one document in 20, chosen by its hash)",
            HeldOut::Files => "validation part (files with val in their names)",
            HeldOut::Own => "validation part (--val-data)",
        };
        for (split, part) in [(Split::Train, "training part"), (Split::Val, val)] {
            let have = self.tokens(split).len();
            if have <= block_size {
                let name = self.name.clone();
                let text_needed = (self.held_out == HeldOut::LastTenth)
                    .then(|| block_size.saturating_add(1).saturating_mul(10));
                return Err(DatasetError::TooShort { name, part, have, block: block_size, text_needed });
            }
        }
        Ok(())
    }

    /// `batch_size` windows of `block_size` tokens, each from a uniformly drawn place.
    ///
    /// # Panics
    /// If the part holds no whole window: call [`check`](Dataset::check) first.
    pub fn batch(
        &self,
        split: Split,
        rng: &mut impl Rng,
        batch_size: usize,
        block_size: usize,
    ) -> Result<Batch, TokensError> {
        let data = self.tokens(split);
        assert!(data.len() > block_size, "{split:?} holds {} tokens, a block {block_size} + 1", data.len());
        let mut batch = Batch { tokens: Vec::new(), targets: Vec::new() };
        for _ in 0..batch_size {
            let start = below(data.len() - block_size, rng);
            batch.add(&data.read(start, block_size + 1)?);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(length: u32) -> Dataset {
        let tokens = || (0..length).collect::<Vec<_>>().into();
        let (train, val, held_out) = (tokens(), tokens(), HeldOut::LastTenth);
        Dataset { name: "counting".into(), train, val, val_bytes: 0, held_out }
    }

    #[test]
    fn nine_characters_in_ten_train_whatever_their_bytes() {
        assert_eq!(split_text("ééééééééé€"), ("ééééééééé", "€"));
        assert_eq!(split_text("abc"), ("ab", "c"));
        assert_eq!(split_text(&"x".repeat(1_115_394)).0.len(), 1_003_854);
    }

    /// nanoGPT's `prepare.py`: 1,003,854 and 111,540 tokens of 65 kinds.
    #[test]
    fn tiny_shakespeare_has_its_published_size() {
        let Some(folder) = std::env::var_os("LAL_DATA_DIR") else { return };
        let Ok(text) = read_text(&Path::new(&folder).join("tinyshakespeare.txt")) else { return };
        let tokenizer = Tokenizer::from_name("char", &text).unwrap();
        let data = Dataset::new("tinyshakespeare", &text, &tokenizer).unwrap();
        assert_eq!((tokenizer.vocab_size(), data.train.len(), data.val.len()), (65, 1_003_854, 111_540));
        assert_eq!(data.val_bytes, 111_540);
        // And nanoGPT's `data/shakespeare`, with GPT-2's tokens.
        let data =
            Dataset::new("tinyshakespeare", &text, &Tokenizer::Gpt2(crate::text::tokenizer::Gpt2)).unwrap();
        assert_eq!((data.train.len(), data.val.len()), (301_966, 36_059));
    }

    #[test]
    fn targets_are_the_next_tokens_and_every_start_is_drawn() {
        let data = counting(20);
        let batch = data.batch(Split::Train, &mut batch_rng(1, Purpose::Training, 0, 0), 1000, 8).unwrap();
        assert_eq!(batch.tokens.len(), 8000);
        assert!(batch.tokens.iter().zip(&batch.targets).all(|(token, target)| token + 1 == *target));
        let mut starts = [0; 12];
        batch.tokens.chunks(8).for_each(|row| starts[row[0] as usize] += 1);
        // 1000 draws among 12: 83 each, standard deviation 8.7; five of them either way.
        assert!(starts.iter().all(|&n| (40..=127).contains(&n)), "{starts:?}");
    }

    #[test]
    fn a_part_of_one_window_is_enough() {
        let batch =
            counting(9).batch(Split::Val, &mut batch_rng(1, Purpose::Estimating, 0, 0), 1, 8).unwrap();
        assert_eq!(batch.tokens, (0..8).collect::<Vec<_>>());
        assert_eq!(batch.targets, (1..9).collect::<Vec<_>>());
        assert!(counting(9).check(8).is_ok() && counting(8).check(8).is_err());
    }

    #[test]
    fn a_batch_depends_on_all_four_numbers_and_nothing_else() {
        let data = counting(100_000);
        let draw = |seed, purpose, step, micro| {
            data.batch(Split::Train, &mut batch_rng(seed, purpose, step, micro), 4, 2).unwrap().tokens
        };
        let one = draw(1, Purpose::Training, 2, 3);
        assert_eq!(one, draw(1, Purpose::Training, 2, 3));
        assert_ne!(one, draw(2, Purpose::Training, 2, 3));
        assert_ne!(one, draw(1, Purpose::Estimating, 2, 3));
        assert_ne!(one, draw(1, Purpose::Training, 3, 3));
        assert_ne!(one, draw(1, Purpose::Training, 2, 4));
    }

    #[test]
    fn words_stay_whole() {
        let text = "one two three four";
        let data = Dataset::new("words", text, &Tokenizer::from_name("word", text).unwrap()).unwrap();
        // The sixteenth of 18 characters is inside "four".
        assert_eq!((data.train.len(), data.val.len()), (7, 0));
    }

    #[test]
    fn errors_say_what_to_do() {
        let tokenizer = Tokenizer::from_name("byte", "").unwrap();
        let short = Dataset::new("note.txt", &"a".repeat(400), &tokenizer).unwrap();
        let error = short.check(64).unwrap_err().to_string();
        for part in ["note.txt", "validation", "40 tokens", "needs 65", "650 tokens", "--block-size 39"] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        assert!(matches!(read_text(&path), Err(DatasetError::Missing(_))));
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(read_text(&path), Err(DatasetError::Empty(_))));
        std::fs::write(&path, "\u{feff}").unwrap();
        assert!(matches!(read_text(&path), Err(DatasetError::Empty(_))));
        std::fs::write(&path, "\u{feff}To be").unwrap();
        assert_eq!(read_text(&path).unwrap(), "To be");
        std::fs::write(&path, b"good \xFF bad").unwrap();
        assert!(matches!(read_text(&path), Err(DatasetError::NotUtf8 { offset: 5, .. })));
    }
}
