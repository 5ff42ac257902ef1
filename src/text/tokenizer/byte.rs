//! One token per byte of UTF-8: 256 of them, and no text they cannot write.

/// The byte tokenizer; a byte is its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLevel;

impl ByteLevel {
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

/// The printable character by which GPT-2 writes a byte in its vocabulary files: a printable Latin-1 byte
/// is itself, the other 68 follow from U+0100 on (`bytes_to_unicode` in OpenAI's `encoder.py`).
pub fn printable(byte: u8) -> char {
    let is_itself = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_itself(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&b| !is_itself(b)).count() as u32;
    // At most 67 places past U+0100: far from the surrogates, so always a character.
    char::from_u32(0x100 + place).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_their_own_ids() {
        assert_eq!(ByteLevel.encode("Aé"), [65, 0xC3, 0xA9]);
    }

    /// Known from every GPT-2 vocabulary file: Ġ is a space, Ċ a newline, ł the last of the shifted ones.
    #[test]
    fn printable_bytes_are_those_of_gpt2() {
        assert_eq!([b'A', b' ', b'\n', 0x00, 0xAD].map(printable), ['A', 'Ġ', 'Ċ', 'Ā', 'Ń']);
        let distinct: std::collections::HashSet<char> = (0..=255).map(printable).collect();
        assert_eq!(distinct.len(), 256);
    }
}
