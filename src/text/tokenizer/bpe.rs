//! GPT-2's byte-pair encoding: 256 bytes, 50,000 merges and one special token.
//!
//! Sennrich, Haddow & Birch 2016, over bytes as in Radford et al. 2019. The vocabulary (`r50k_base`)
//! comes with the `tiktoken-rs` crate, so nothing is downloaded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::LazyLock;

use tiktoken_rs::{CoreBPE, r50k_base_singleton};

use super::pieces;
use super::words::Memory;

/// 256 bytes + 50,000 merges + `<|endoftext|>`.
pub const GPT2_VOCAB: usize = 50_257;

/// The id of `<|endoftext|>`, which separates documents and is never the encoding of any text.
pub const END_OF_TEXT: u32 = 50_256;

/// The GPT-2 tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpt2;

impl Gpt2 {
    fn ranks(&self) -> &'static CoreBPE {
        r50k_base_singleton()
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        static KNOWN: LazyLock<Memory> = LazyLock::new(Memory::default);
        let encode = |word: &str| Ok::<_, Infallible>(self.ranks().encode_ordinary(word));
        let Ok(ids) = pieces::encode(text, |piece| KNOWN.encode(piece, encode, encode));
        ids
    }

    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.ranks().decode_bytes(&[id]).ok()
    }

    /// The merges in the order they were learned: pair `i` makes token `256 + i`.
    ///
    /// The rank table keeps only what each merge made. The pair it joined is what the encoder arrives at
    /// when it may use only earlier merges: the last two parts before they become one.
    pub fn merges(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let tokens: Vec<Vec<u8>> = (0..END_OF_TEXT).filter_map(|id| self.token_bytes(id)).collect();
        let ranks: HashMap<&[u8], u32> =
            tokens.iter().zip(0..).map(|(t, rank)| (t.as_slice(), rank)).collect();
        let pair = |(token, rank): (&Vec<u8>, u32)| {
            let parts = split(token, &ranks, rank);
            (parts[0].to_vec(), parts[1..].concat())
        };
        tokens.iter().zip(0..).skip(256).map(pair).collect()
    }
}

/// Byte-pair encoding of `piece` with the merges that rank below `limit`: join the neighbours whose
/// union ranks lowest, the leftmost first, until none is left to join.
fn split<'a>(piece: &'a [u8], ranks: &HashMap<&[u8], u32>, limit: u32) -> Vec<&'a [u8]> {
    // Part i is piece[cuts[i]..cuts[i + 1]].
    let mut cuts: Vec<usize> = (0..=piece.len()).collect();
    loop {
        let rank = |i: usize| ranks.get(&piece[cuts[i]..cuts[i + 2]]).filter(|&&rank| rank < limit);
        let lowest = (0..cuts.len().saturating_sub(2)).filter_map(|i| Some((rank(i)?, i))).min();
        match lowest {
            Some((_, i)) => cuts.remove(i + 1),
            None => return cuts.windows(2).map(|cut| &piece[cut[0]..cut[1]]).collect(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids from OpenAI's released encoder, as quoted all over its documentation and issues.
    #[test]
    fn published_ids() {
        assert_eq!(Gpt2.encode("Hello world"), [15496, 995]);
        assert_eq!(Gpt2.encode("Hello, I'm a language model,"), [15496, 11, 314, 1101, 257, 3303, 2746, 11]);
        assert_eq!(Gpt2.encode("\n"), [198]);
        assert_eq!(Gpt2.encode("\n\n"), [628]);
    }

    #[test]
    fn end_of_text_is_not_text() {
        let ids = Gpt2.encode("<|endoftext|>");
        assert_eq!(ids, [27, 91, 437, 1659, 5239, 91, 29]);
        assert_eq!(Gpt2.token_bytes(END_OF_TEXT).unwrap(), b"<|endoftext|>");
        assert_eq!(Gpt2.token_bytes(GPT2_VOCAB as u32), None);
    }

    /// The head and the tail of OpenAI's `vocab.bpe`.
    #[test]
    fn merges_are_those_of_vocab_bpe() {
        let merges = Gpt2.merges();
        let pair = |a: &str, b: &str| (a.as_bytes().to_vec(), b.as_bytes().to_vec());
        assert_eq!(merges.len(), 50_000);
        assert_eq!(merges[..4], [pair(" ", "t"), pair(" ", "a"), pair("h", "e"), pair("i", "n")]);
        assert_eq!(merges[49_999], pair(" g", "azed"));
        assert_eq!(merges[49_998], pair(" inform", "ants"));
    }

    #[test]
    fn long_runs_of_blanks_are_taken() {
        let text = format!("{}x{}", " ".repeat(300_000), "\n".repeat(300_000));
        let bytes: usize = Gpt2.encode(&text).iter().map(|&id| Gpt2.token_bytes(id).unwrap().len()).sum();
        assert_eq!(bytes, text.len());
    }
}
