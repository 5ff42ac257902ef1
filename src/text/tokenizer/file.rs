//! `tokenizer.json`: a tokenizer as a Hugging Face `tokenizers` file, and back.
//!
//! `char` is a `WordLevel` model over pieces of one character; `byte` is a `BPE` model without merges
//! over GPT-2's printable bytes; `gpt2` is GPT-2's own file. `tokenizer_config.json` beside it tells
//! `transformers` to use it as it stands.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::bpe::END_OF_TEXT;
use super::byte::printable;
use super::{CharLevel, Tokenizer, TokenizerError};

const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";

impl Tokenizer {
    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, each whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        write(folder.join(FILE), &self.to_json())?;
        let (class, end) = match self {
            Self::Gpt2(_) => ("GPT2Tokenizer", Some("<|endoftext|>")),
            _ => ("PreTrainedTokenizerFast", None),
        };
        let config = json!({
            "tokenizer_class": class,
            "bos_token": end,
            "eos_token": end,
            "unk_token": end,
            "add_prefix_space": false,
            "clean_up_tokenization_spaces": false,
        });
        write(folder.join(CONFIG_FILE), &config)
    }

    /// Reads the `tokenizer.json` of `folder`; errors if it is missing or none that [`save`] writes.
    ///
    /// [`save`]: Tokenizer::save
    pub fn load(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join(FILE);
        let bad = |what: String| TokenizerError::BadFile { path: path.clone(), what };
        let text =
            std::fs::read(&path).map_err(|source| TokenizerError::Io { path: path.clone(), source })?;
        let json: Value = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let vocabulary =
            json["model"]["vocab"].as_object().ok_or_else(|| bad("it has no model.vocab".into()))?;
        let tokenizer = match json["model"]["type"].as_str() {
            Some("WordLevel") => Self::Char(char_level(vocabulary).map_err(bad)?),
            Some("BPE") if vocabulary.len() == 256 => Self::Byte(super::ByteLevel),
            Some("BPE") => Self::Gpt2(super::Gpt2),
            kind => return Err(bad(format!("its model type is {kind:?}"))),
        };
        // The kind is guessed from little; that every id agrees is what proves it.
        if *vocabulary != tokenizer.vocabulary() {
            let (name, size) = (tokenizer.name(), vocabulary.len());
            return Err(bad(format!("its {size} tokens are not those of a {name} tokenizer")));
        }
        Ok(tokenizer)
    }

    fn to_json(&self) -> Value {
        let vocabulary = self.vocabulary();
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let bpe = |merges: Vec<String>| {
            json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                   "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
                   "merges": merges})
        };
        let (model, split, decoder, special) = match self {
            // No "<unk>" is in the vocabulary, so that an unknown character is an error there as well.
            Self::Char(_) => (
                json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}),
                json!({"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": false}),
                json!({"type": "Fuse"}),
                json!([]),
            ),
            Self::Byte(_) => (bpe(Vec::new()), byte_level(false), byte_level(false), json!([])),
            Self::Gpt2(gpt2) => {
                let line = |(a, b): &(Vec<u8>, Vec<u8>)| format!("{} {}", spelled(a), spelled(b));
                let special = json!([{"id": END_OF_TEXT, "content": "<|endoftext|>", "single_word": false,
                                      "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
                let merges = gpt2.merges().iter().map(line).collect();
                (bpe(merges), byte_level(true), byte_level(true), special)
            }
        };
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
               "normalizer": null, "pre_tokenizer": split, "post_processor": null, "decoder": decoder,
               "model": model})
    }

    /// Token → id as the file spells tokens: characters as they are, bytes as GPT-2 prints them.
    fn vocabulary(&self) -> Map<String, Value> {
        let spell = |id: u32| match self {
            Self::Char(_) => self.decode(&[id]),
            // It is no sequence of bytes, and is spelled as it is.
            Self::Gpt2(_) if id == END_OF_TEXT => self.decode(&[id]),
            _ => spelled(&self.token_bytes(id)),
        };
        (0..self.vocab_size() as u32).map(|id| (spell(id), id.into())).collect()
    }
}

fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| printable(byte)).collect()
}

fn char_level(vocabulary: &Map<String, Value>) -> Result<CharLevel, String> {
    match vocabulary.keys().find(|token| token.chars().count() != 1) {
        Some(token) => Err(format!("{token:?} is not one character")),
        None => CharLevel::from_corpus(&vocabulary.keys().cloned().collect::<String>())
            .map_err(|error| error.to_string()),
    }
}

/// Writes under another name and renames, so that no reader ever meets half a file.
fn write(path: PathBuf, json: &Value) -> Result<(), TokenizerError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let attempt = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, json)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path).map(drop).map_err(|error| error.error)
    };
    attempt().map_err(|source| TokenizerError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokenizer::NAMES;

    #[test]
    fn each_kind_survives_its_file() {
        for name in NAMES {
            let folder = tempfile::tempdir().unwrap();
            let tokenizer = Tokenizer::from_name(name, "any \"text\"\n\u{e9}\u{1F642}").unwrap();
            tokenizer.save(folder.path()).unwrap();
            let loaded = Tokenizer::load(folder.path()).unwrap();
            assert_eq!(loaded, tokenizer);
            assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        }
    }

    /// What GPT-2's own `tokenizer.json` holds at these places.
    #[test]
    fn gpt2_is_spelled_as_hugging_face_does() {
        let json = Tokenizer::from_name("gpt2", "").unwrap().to_json();
        let vocabulary = &json["model"]["vocab"];
        assert_eq!(vocabulary["!"], 0);
        assert_eq!(vocabulary["Ġthe"], 262);
        assert_eq!(vocabulary["<|endoftext|>"], 50_256);
        assert_eq!(json["model"]["merges"][0], "Ġ t");
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let complaint = || Tokenizer::load(folder.path()).unwrap_err().to_string();
        assert!(complaint().contains("tokenizer.json"), "{}", complaint());
        let put = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        put(r#"{"model": {"type": "Unigram", "vocab": {}}}"#);
        assert!(complaint().contains("Unigram"), "{}", complaint());
        put(r#"{"model": {"type": "WordLevel", "vocab": {"a": 0, "bc": 1}}}"#);
        assert!(complaint().contains("\"bc\""), "{}", complaint());
        put(r#"{"model": {"type": "WordLevel", "vocab": {"a": 1, "b": 0}}}"#);
        assert!(complaint().contains("2 tokens"), "{}", complaint());
    }
}
