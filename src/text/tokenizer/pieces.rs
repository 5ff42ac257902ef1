//! A long text in pieces that are split into words one by one, and to the same words.
//!
//! Splitting a text at once takes a hundred times its memory; pieces take little, and go to all cores.

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// Bytes of a piece; a few more where there is no place to cut.
const PIECE: usize = 1 << 18;

/// `text` in pieces of about [`PIECE`] bytes, for GPT-2's rule of words and those like it.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    of_size(text, PIECE)
}

/// The tokens of each piece by `encode`, one after another.
///
/// # Errors
/// The first that `encode` gives.
pub fn encode<E: Send>(
    text: &str,
    encode: impl Fn(&str) -> Result<Vec<u32>, E> + Sync,
) -> Result<Vec<u32>, E> {
    let pieces: Vec<&str> = pieces(text).collect();
    let encoded: Vec<Vec<u32>> = pieces.par_iter().map(|piece| encode(piece)).collect::<Result<_, _>>()?;
    let mut ids = Vec::with_capacity(encoded.iter().map(Vec::len).sum());
    encoded.into_iter().for_each(|piece| ids.extend(piece));
    Ok(ids)
}

/// Whether a word ends before the byte `at`, whatever comes after, and one begins there, whatever came before: between a
/// letter or digit and a space or line break, all ASCII.
pub fn word_end(bytes: &[u8], at: usize) -> bool {
    bytes[at - 1].is_ascii_alphanumeric() && matches!(bytes[at], b' ' | b'\n')
}

fn of_size(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut begin = 0;
    std::iter::from_fn(move || {
        if begin == bytes.len() {
            return None;
        }
        let end =
            (begin.saturating_add(size)..bytes.len()).find(|&at| word_end(bytes, at)).unwrap_or(bytes.len());
        let piece = &text[begin..end];
        begin = end;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::text::dataset::below;
    use crate::text::tokenizer::Tokenizer;

    const PARTS: [&str; 20] = [
        "a", "it", "Ünï", "7", "42", " ", "  ", "\n", "\r\n", "\t", "\u{a0}", "\u{2028}", "'s", "'ll", "'",
        "...", "🙂", "e\u{301}", "ſ", "中文",
    ];

    /// Where words end must not hang on where the text is cut: the tokens of all pieces are those of the whole.
    #[test]
    fn pieces_have_the_tokens_of_the_whole() {
        let gpt2 = Tokenizer::from_name("gpt2", "").unwrap();
        let corpus: String = PARTS.concat().repeat(3);
        let trained = Tokenizer::from_name("bpe:270", &corpus).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..300 {
            let text: String = (0..40).map(|_| PARTS[below(PARTS.len(), &mut rng)]).collect();
            let size = 1 + below(9, &mut rng);
            assert_eq!(of_size(&text, size).collect::<String>(), text);
            for tokenizer in [&gpt2, &trained] {
                let whole = tokenizer.encode(&text).unwrap();
                let cut: Vec<u32> =
                    of_size(&text, size).flat_map(|piece| tokenizer.encode(piece).unwrap()).collect();
                assert_eq!(cut, whole, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_and_a_word_is_not() {
        assert_eq!(
            of_size("one two\nthree four", 2).collect::<Vec<_>>(),
            ["one", " two", "\nthree", " four"]
        );
        assert_eq!(of_size("a! b? c", 1).collect::<Vec<_>>(), ["a! b? c"]);
        assert_eq!(of_size(&"x".repeat(100), 3).count(), 1);
        assert_eq!(of_size("", 3).count(), 0);
        let long = "word ".repeat(PIECE);
        let lens: Vec<usize> = pieces(&long).map(str::len).collect();
        assert!(lens.len() == 5 && lens[..4].iter().all(|len| (PIECE..PIECE + 5).contains(len)), "{lens:?}");
    }
}
