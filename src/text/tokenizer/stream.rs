//! Decoding as tokens arrive.

use super::Tokenizer;

/// Turns ids into text one at a time, holding back a character until all of its bytes are there.
///
/// The pieces of [`push`](Stream::push) and [`finish`](Stream::finish) together are exactly what
/// [`Tokenizer::decode`] makes of all the ids at once.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// The beginning of a character: at most 3 bytes.
    pending: Vec<u8>,
    /// Whether a space that comes next is the tokenizer's own.
    drops_space: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, drops_space: bool) -> Self {
        Self { tokenizer, pending: Vec::new(), drops_space }
    }

    /// The text that is complete now that `id` has come; perhaps none.
    pub fn push(&mut self, id: u32) -> String {
        self.pending.extend(self.tokenizer.token_bytes(id));
        if self.drops_space && !self.pending.is_empty() {
            self.drops_space = false;
            if self.pending[0] == b' ' {
                self.pending.remove(0);
            }
        }
        let mut complete = 0;
        while let Err(error) = std::str::from_utf8(&self.pending[complete..]) {
            complete += error.valid_up_to();
            match error.error_len() {
                // Never a character, whatever follows.
                Some(bad) => complete += bad,
                // A character that has only begun.
                None => return self.take(complete),
            }
        }
        self.take(self.pending.len())
    }

    /// The rest: U+FFFD if a character was begun and never ended.
    pub fn finish(mut self) -> String {
        self.take(self.pending.len())
    }

    fn take(&mut self, length: usize) -> String {
        let bytes: Vec<u8> = self.pending.drain(..length).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = tokenizer.stream();
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        pieces.push(stream.finish());
        pieces
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let byte = Tokenizer::from_name("byte", "").unwrap();
        assert_eq!(pieces(&byte, &byte.encode("a€b").unwrap()), ["a", "", "", "€", "b", ""]);
        assert_eq!(pieces(&byte, &[0xE2, 0x82]), ["", "", "\u{FFFD}"]);
        assert_eq!(pieces(&byte, &[0xE2, 0x41, 0xFF]), ["", "\u{FFFD}A", "\u{FFFD}", ""]);
    }

    #[test]
    fn the_pieces_make_up_the_whole_even_of_nonsense() {
        let gpt2 = Tokenizer::from_name("gpt2", "").unwrap();
        let byte = Tokenizer::from_name("byte", "").unwrap();
        let emoji = gpt2.encode("so 🙂, 今日").unwrap();
        assert_eq!(pieces(&gpt2, &emoji).concat(), "so 🙂, 今日");
        // Every pair of bytes around the start of a three-byte character.
        for a in 0..=255 {
            let ids = [0xE2, a, 0x82, a, 0x41];
            assert_eq!(pieces(&byte, &ids).concat(), byte.decode(&ids));
        }
    }
}
