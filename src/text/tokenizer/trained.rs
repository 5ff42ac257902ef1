//! Byte-pair encoding learned from a corpus: 256 bytes, then one token per merge.
//!
//! Training starts from the bytes of each word and, again and again, joins the pair of neighbouring tokens that
//! occurs most often into a new token (Sennrich, Haddow & Birch 2016; over bytes as in Radford et al. 2019, whose
//! rule splits the words). Of pairs that occur equally often the one with the lower ids is joined, so that a
//! corpus has exactly one vocabulary. The work is done by Hugging Face's `tokenizers`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::iter::{ParallelBridge, ParallelIterator};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::TokenizerError;
use super::byte::printable;
use super::pieces;
use super::words::{self, Memory, Span};

/// The largest N of `bpe:N`: far above any vocabulary in use, and small enough not to exhaust the memory.
pub const MAX_VOCAB: usize = 1 << 20;

/// How often a pair must occur to be joined: one that occurs once saves nothing elsewhere.
const LEAST_COUNT: u64 = 2;

/// A trained byte-pair encoder. Ids below 256 are bytes in GPT-2's order, the others merges in theirs.
#[derive(Clone, Debug)]
pub struct Bpe {
    /// The bytes of each token, by id.
    tokens: Vec<Vec<u8>>,
    /// In the order in which they were learned, spelled as GPT-2 prints bytes.
    merges: Vec<(String, String)>,
    /// Shared, as a clone of it would start with an empty cache.
    model: Arc<BPE>,
    known: Arc<Memory>,
}

impl PartialEq for Bpe {
    fn eq(&self, other: &Self) -> bool {
        self.tokens == other.tokens && self.merges == other.merges
    }
}

impl Eq for Bpe {}

impl Bpe {
    /// Learns tokens from `corpus` until there are `vocab_size`.
    ///
    /// # Errors
    /// When there is no room for a merge, or no pair left to join before the vocabulary is full.
    pub fn train(corpus: &str, vocab_size: usize) -> Result<Self, TokenizerError> {
        Self::learn(pieces::pieces(corpus), vocab_size)
    }

    /// The same of texts that come one after the other: no token reaches from one into the next.
    pub fn learn<T: AsRef<str> + Send>(
        texts: impl Iterator<Item = T> + Send,
        vocab_size: usize,
    ) -> Result<Self, TokenizerError> {
        if !(257..=MAX_VOCAB).contains(&vocab_size) {
            return Err(TokenizerError::VocabularySize(vocab_size));
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(LEAST_COUNT)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        let counts = texts.par_bridge().try_fold(Counts::default, Counts::with);
        let counts = counts.try_reduce(Counts::default, |a, b| Ok(a.and(b))).map_err(library)?;
        let mut model = BPE::default();
        let words = counts.0.into_iter().map(|(word, count)| (word.into(), count)).collect();
        trainer.do_train(&words, &mut model).map_err(library)?;
        let bpe = Self::new(model).map_err(TokenizerError::Library)?;
        match bpe.tokens.len() {
            have if have < vocab_size => Err(TokenizerError::TooFewPairs { asked: vocab_size, have }),
            _ => Ok(bpe),
        }
    }

    /// The encoder with the vocabulary and the merges of the `model` object of a `tokenizer.json`; says what is wrong
    /// with it if it is none.
    pub(super) fn from_json(model: &Value) -> Result<Self, String> {
        let model = json!({"type": "BPE", "vocab": model["vocab"], "merges": model["merges"]});
        let bpe = Self::new(BPE::deserialize(&model).map_err(|error| error.to_string())?)?;
        bpe.check_merges()?;
        Ok(bpe)
    }

    /// Whether the merges make the tokens as training does: the bytes come first, and each merge joins two tokens
    /// that there are into the next, or into one that another pair has made already.
    fn check_merges(&self) -> Result<(), String> {
        if let Some(token) = self.tokens.iter().take(256).find(|token| token.len() != 1) {
            return Err(format!("{:?} is among its first 256 tokens, which are the bytes", lossy(token)));
        }
        let mut made = 256;
        for (a, b) in &self.merges {
            let id = |token: &str| self.model.token_to_id(token).map_or(usize::MAX, |id| id as usize);
            let joined = id(&format!("{a}{b}"));
            if id(a) >= made || id(b) >= made || joined > made {
                return Err(format!("its merge {a:?} {b:?} is out of order"));
            }
            made = made.max(joined + 1);
        }
        match self.tokens.get(made) {
            Some(token) => Err(format!(
                "its {} merges end before its token {made}, {:?}: some are missing",
                self.merges.len(),
                lossy(token)
            )),
            None => Ok(()),
        }
    }

    fn new(model: BPE) -> Result<Self, String> {
        let byte: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (printable(byte), byte)).collect();
        let vocabulary: BTreeMap<u32, String> =
            model.get_vocab().into_iter().map(|(token, id)| (id, token)).collect();
        let mut tokens = Vec::with_capacity(vocabulary.len());
        for (place, (&id, token)) in vocabulary.iter().enumerate() {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| byte.get(&c).copied()).collect();
            tokens.push(bytes.ok_or_else(|| format!("{token:?} is not written in GPT-2's printable bytes"))?);
            if id as usize != place {
                return Err(format!("no token has the id {place}"));
            }
        }
        if let Some(missing) =
            (0..=u8::MAX).find(|&byte| model.token_to_id(&printable(byte).to_string()).is_none())
        {
            return Err(format!("it has no token for the byte {missing}"));
        }
        // The library shows its merges in no other way.
        let json = serde_json::to_value(&model).map_err(|error| error.to_string())?;
        let merges = Vec::deserialize(&json["merges"]).map_err(|error| error.to_string())?;
        Ok(Self { tokens, merges, model: Arc::new(model), known: Arc::default() })
    }

    /// The bytes of each token, by id.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The pairs that were joined, in the order in which they were learned, spelled as GPT-2 prints bytes.
    pub fn merges(&self) -> &[(String, String)] {
        &self.merges
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let spelled = |word: &str| -> tokenizers::Result<Vec<u32>> {
            Ok(self.model.tokenize(word)?.into_iter().map(|token| token.id).collect())
        };
        let ascii = |word: &str| spelled(&printed(word));
        let other = |text: &str| Ok(each_word(text, spelled)?.concat());
        pieces::encode(text, |piece| self.known.encode(piece, ascii, other)).map_err(library)
    }
}

/// How often each word, or piece of one, occurs, its bytes printed as characters.
#[derive(Default)]
struct Counts(HashMap<String, u64>);

impl Counts {
    fn with(mut self, text: impl AsRef<str>) -> tokenizers::Result<Self> {
        let (mut of_text, mut failed) = (HashMap::<&str, u64>::new(), None);
        words::split(text.as_ref(), &mut |span| match span {
            Span::Word(word) => *of_text.entry(word).or_default() += 1,
            Span::Other(text) => match each_word(text, |word| Ok(learned(word))) {
                Ok(found) => found.into_iter().flatten().for_each(|word| self.add(word, 1)),
                Err(error) => failed = Some(error),
            },
        });
        for (word, count) in of_text {
            learned(&printed(word)).into_iter().for_each(|piece| self.add(piece, count));
        }
        failed.map_or(Ok(self), Err)
    }

    fn add(&mut self, word: String, count: u64) {
        *self.0.entry(word).or_default() += count;
    }

    fn and(mut self, other: Self) -> Self {
        other.0.into_iter().for_each(|(word, count)| self.add(word, count));
        self
    }
}

/// The bytes of a word as GPT-2 prints them.
fn printed(word: &str) -> String {
    word.bytes().map(printable).collect()
}

/// Characters of a word as it is learned from. The library's work grows with the square of a word's length: of a word
/// without end, such as a genome, it sees pieces, so that a pair that lies across a cut is not counted.
const LONGEST: usize = 512;

/// A word, or the pieces it is learned from.
fn learned(word: &str) -> Vec<String> {
    if word.len() <= LONGEST {
        return vec![word.to_owned()];
    }
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(LONGEST).map(|piece| piece.iter().collect()).collect()
}

/// What `each` makes of the words that GPT-2's rule splits `text` into, their bytes printed as characters.
fn each_word<T>(text: &str, each: impl Fn(&str) -> tokenizers::Result<T>) -> tokenizers::Result<Vec<T>> {
    let mut split = PreTokenizedString::from(text);
    ByteLevel::new(false, true, true).pre_tokenize(&mut split)?;
    let words = split.get_splits(OffsetReferential::Normalized, OffsetType::None);
    words.into_iter().map(|(word, ..)| each(word)).collect()
}

fn lossy(token: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(token)
}

fn library(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Library(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::text::dataset::below;
    use crate::text::tales::Tales;
    use crate::text::tokenizer::{Gpt2, Tokenizer};

    fn pairs(merges: &[[&str; 2]]) -> Vec<(String, String)> {
        merges.iter().map(|[a, b]| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    /// Wikipedia's example, "aaabdaaabac": Z = aa, Y = ab, X = ZY. Its aa occurs 4 times, and then ab, as Za, twice.
    #[test]
    fn the_textbook_example() {
        let bpe = Bpe::train("aaabdaaabac", 259).unwrap();
        assert_eq!(bpe.merges(), pairs(&[["a", "a"], ["a", "b"], ["aa", "ab"]]));
        assert_eq!(bpe.tokens()[256..], [b"aa".to_vec(), b"ab".to_vec(), b"aaab".to_vec()]);
        let spelled: Vec<&[u8]> =
            bpe.encode("aaabdaaabac").unwrap().iter().map(|&id| &bpe.tokens()[id as usize][..]).collect();
        assert_eq!(spelled, [&b"aaab"[..], b"d", b"aaab", b"a", b"c"]);
    }

    /// The words of Sennrich, Haddow & Birch's listing without their end-of-word mark: e s, es t, l o, lo w come
    /// first there as well, in the order that ties allow.
    #[test]
    fn the_paper_s_words() {
        let corpus = [("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)]
            .map(|(word, count)| format!("{word}\n").repeat(count))
            .concat();
        let bpe = Bpe::train(&corpus, 260).unwrap();
        assert_eq!(bpe.merges(), pairs(&[["e", "s"], ["es", "t"], ["l", "o"], ["lo", "w"]]));
    }

    /// `tests/golden/bpe.json`, which Hugging Face's Python package learned from the same text.
    #[test]
    fn a_vocabulary_is_that_of_the_reference() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/bpe.json")).unwrap();
        let bpe =
            Bpe::train(golden["text"].as_str().unwrap(), golden["vocab_size"].as_u64().unwrap() as usize)
                .unwrap();
        let merges: Vec<(String, String)> = Vec::deserialize(&golden["merges"]).unwrap();
        assert_eq!(bpe.merges(), merges);
        for sample in golden["samples"].as_array().unwrap() {
            let ids: Vec<u32> = Vec::deserialize(&sample["ids"]).unwrap();
            assert_eq!(bpe.encode(sample["text"].as_str().unwrap()).unwrap(), ids, "{sample}");
        }
    }

    #[test]
    fn tales_take_fewer_tokens_than_bytes_and_no_two_trainings_differ() {
        let text = Tales::new().corpus(1, 60_000).text;
        let bpe = Bpe::train(&text, 512).unwrap();
        assert_eq!((bpe.tokens().len(), bpe.merges().len()), (512, 256));
        assert_eq!(bpe, Bpe::train(&text, 512).unwrap());
        let ratio = text.len() as f64 / bpe.encode(&text).unwrap().len() as f64;
        assert!(ratio > 2.4, "{ratio}");
        // Bytes never seen in training, in GPT-2's order, and text that is theirs.
        assert_eq!(bpe.encode("!\u{1F642}").unwrap(), [0, 172, 253, 247, 224]);
        let gpt2 = Tokenizer::Gpt2(Gpt2);
        assert!((0..256).all(|id| bpe.tokens()[id as usize] == gpt2.token_bytes(id)));
    }

    /// A genome is one word. The pairs of its four letters are about equally frequent, so that every merge changes all
    /// of it.
    #[test]
    fn a_word_without_end_takes_no_time_without_end() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut genome =
            |length: usize| (0..length).map(|_| ['A', 'C', 'G', 'T'][below(4, &mut rng)]).collect::<String>();
        let begun = Instant::now();
        for text in [genome(300_000), " ".repeat(300_000), genome(3).repeat(100_000)] {
            let bpe = Bpe::train(&text, 300).unwrap_or_else(|_| Bpe::train(&text, 262).unwrap());
            let ids = bpe.encode(&text).unwrap();
            let bytes: usize = ids.iter().map(|&id| bpe.tokens()[id as usize].len()).sum();
            assert!(bytes == text.len() && 2 * ids.len() < text.len(), "{} tokens", ids.len());
        }
        // Seconds, even while other tests run; in quadratic time it would be minutes.
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    #[test]
    fn words_are_learned_whole_up_to_a_length() {
        assert_eq!(learned(&"a".repeat(512)), ["a".repeat(512)]);
        assert_eq!(learned(&"Ġ".repeat(513)), ["Ġ".repeat(512), "Ġ".into()]);
    }

    #[test]
    fn a_vocabulary_that_cannot_be_filled_is_refused() {
        let error = |text, size| Bpe::train(text, size).unwrap_err().to_string();
        assert!(error("abab", 256).contains("above 256"));
        assert!(error("abab", usize::MAX).contains("up to 1048576"));
        let short = error("abab", 300);
        assert!(short.contains("bpe:300") && short.contains("257 tokens"), "{short}");
    }
}
