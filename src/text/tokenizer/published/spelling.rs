//! What the spelling of a token says: the bytes it stands for.

use std::collections::HashMap;

use serde_json::Value;

use crate::text::tokenizer::byte::printable;

/// The space of SentencePiece.
const LOWER_BLOCK: &str = "\u{2581}";

/// How a file spells its tokens, by its decoder.
#[derive(Debug)]
pub struct Spelling {
    kind: Kind,
    /// Whether a space at the beginning of a text is the tokenizer's own.
    pub drops_first_space: bool,
}

#[derive(Debug)]
enum Kind {
    /// As GPT-2 prints bytes.
    Bytes(HashMap<char, u8>),
    /// Text, in which some pieces stand for others; perhaps `<0x0A>` for a byte.
    Text { replaced: Vec<(String, String)>, bytes: bool },
    /// A word, or with this prefix the rest of one.
    Words { prefix: Option<String> },
}

impl Spelling {
    /// That of the `decoder` of a `tokenizer.json`.
    pub fn read(decoder: &Value) -> Result<Self, String> {
        let mut spelling = Self { kind: Kind::Words { prefix: None }, drops_first_space: true };
        if decoder.is_null() {
            return Ok(spelling);
        }
        let mut text = Text::default();
        match decoder["type"].as_str() {
            Some("ByteLevel") => {
                spelling.kind = Kind::Bytes((0..=u8::MAX).map(|byte| (printable(byte), byte)).collect());
                spelling.drops_first_space = false;
                return Ok(spelling);
            }
            Some("WordPiece") => {
                let prefix = decoder["prefix"].as_str().unwrap_or("##").to_owned();
                spelling.kind = Kind::Words { prefix: Some(prefix) };
                return Ok(spelling);
            }
            Some("Sequence") => {
                let list = decoder["decoders"].as_array().ok_or("its decoder.decoders is no list")?;
                // A file may end its pieces with one of the above.
                if let [one] = list.as_slice() {
                    return Self::read(one);
                }
                list.iter().try_for_each(|step| text.add(step))?;
            }
            _ => text.add(decoder)?,
        }
        let Text { replaced, bytes, drops_first_space } = text;
        Ok(Self { kind: Kind::Text { replaced, bytes }, drops_first_space })
    }

    /// Whether tokens are words, added ones among them, with spaces between.
    pub fn has_words(&self) -> bool {
        matches!(self.kind, Kind::Words { .. })
    }

    /// The bytes of a token; that of a word has a space before it.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        match &self.kind {
            // What holds another character was never printed so.
            Kind::Bytes(known) => {
                let bytes: Option<Vec<u8>> = token.chars().map(|c| known.get(&c).copied()).collect();
                bytes.unwrap_or_else(|| token.into())
            }
            Kind::Text { replaced, bytes } => {
                if let Some(byte) = byte(token).filter(|_| *bytes) {
                    return vec![byte];
                }
                let replaced =
                    replaced.iter().fold(token.to_owned(), |text, (from, to)| text.replace(from, to));
                replaced.into_bytes()
            }
            Kind::Words { prefix } => match prefix.as_ref().and_then(|prefix| token.strip_prefix(prefix)) {
                Some(rest) => rest.into(),
                None => format!(" {token}").into_bytes(),
            },
        }
    }
}

#[derive(Default)]
struct Text {
    replaced: Vec<(String, String)>,
    bytes: bool,
    drops_first_space: bool,
}

impl Text {
    fn add(&mut self, step: &Value) -> Result<(), String> {
        match step["type"].as_str() {
            Some("Fuse") => {}
            Some("ByteFallback") => self.bytes = true,
            Some("Metaspace") => {
                let space = step["replacement"].as_str().unwrap_or(LOWER_BLOCK).to_owned();
                self.replaced.push((space, " ".into()));
                let scheme = step["prepend_scheme"].as_str();
                let never = scheme == Some("never") || scheme.is_none() && step["add_prefix_space"] == false;
                self.drops_first_space = !never;
            }
            Some("Replace") => {
                let (from, to) = (step["pattern"]["String"].as_str(), step["content"].as_str());
                match (from, to) {
                    (Some(from), Some(to)) if !from.is_empty() => {
                        self.replaced.push((from.into(), to.into()))
                    }
                    _ => {
                        return Err(format!(
                            "its decoder replaces {}, and Lal reads a String",
                            step["pattern"]
                        ));
                    }
                }
            }
            Some("Strip")
                if step["content"] == " " && step["stop"] == 0 && step["start"].as_u64() <= Some(1) =>
            {
                self.drops_first_space = step["start"] == 1;
            }
            _ => {
                return Err(format!(
                    "its decoder is {step}, and Lal reads ByteLevel, Metaspace, WordPiece, Replace, ByteFallback, \
                     Fuse and a Strip of one space"
                ));
            }
        }
        Ok(())
    }
}

/// The byte that `<0x0A>` stands for.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spelled(decoder: &Value, tokens: &[&str]) -> Vec<String> {
        let spelling = Spelling::read(decoder).unwrap();
        tokens.iter().map(|token| String::from_utf8_lossy(&spelling.bytes(token)).into_owned()).collect()
    }

    #[test]
    fn tokens_are_what_their_decoder_makes_of_them() {
        assert_eq!(spelled(&json!({"type": "ByteLevel"}), &["Ġa", "Ċ", "日"]), [" a", "\n", "日"]);
        assert_eq!(spelled(&json!({"type": "WordPiece", "prefix": "##"}), &["a", "##b"]), [" a", "b"]);
        let llama = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(spelled(&llama, &["▁a▁b", "<0x41>", "<0x4>"]), [" a b", "A", "<0x4>"]);
        assert!(Spelling::read(&llama).unwrap().drops_first_space);
        let error = Spelling::read(&json!({"type": "CTC"})).unwrap_err();
        assert!(error.contains("CTC"), "{error}");
    }
}
