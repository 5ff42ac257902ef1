//! `tokenizer.json`: a tokenizer as a Hugging Face `tokenizers` file, and back.
//!
//! `char` and `word` are `WordLevel` models, over pieces of one character or over words; `byte` is a `BPE` model
//! without merges over GPT-2's printable bytes; `bpe:N` is one with merges; `gpt2` is GPT-2's own file. Special tokens
//! are `added_tokens`. `tokenizer_config.json` lets `transformers` use it without changes, chat template
//! included.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::agreement::{check_config, compare, is_plainly_special, merges};
use super::bpe::END_OF_TEXT;
use super::byte::printable;
use super::folder::{CHAT_TEMPLATE, CONFIG_FILE, FILE, MOST_BYTES, write};
use super::word::PATTERN;
use super::{Bpe, CharLevel, Special, Tokenizer, TokenizerError, WordLevel, published_file};
use crate::files;

impl Tokenizer {
    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, each whole or not at all; of a published
    /// tokenizer all of its files, as they were read.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        if let Some(published) = self.published() {
            return published_file::save(published, self.specials(), folder);
        }
        write(folder.join(FILE), &self.to_json())?;
        let base = match self {
            Self::Extended(extended) => extended.base(),
            plain => plain,
        };
        let (class, end) = match base {
            Self::Gpt2(_) => ("GPT2Tokenizer", Some("<|endoftext|>")),
            _ => ("PreTrainedTokenizerFast", None),
        };
        let content = |special| self.special(special).map(|_| special.content());
        let mut config = json!({
            "tokenizer_class": class,
            "bos_token": end,
            "eos_token": content(Special::End).or(end),
            "unk_token": end,
            "mask_token": content(Special::Mask),
            "add_prefix_space": false,
            "clean_up_tokenization_spaces": false,
        });
        if Special::CHAT.iter().all(|&special| self.special(special).is_some()) {
            config["chat_template"] = CHAT_TEMPLATE.into();
        }
        write(folder.join(CONFIG_FILE), &config)
    }

    /// Reads the tokenizer of `folder`: one of Lal's own, or any that the files there describe.
    ///
    /// # Errors
    /// When `tokenizer.json` is missing or cannot be run as it says, or the files there have other tokens in mind. The
    /// error names the file and the key.
    pub fn load(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join(FILE);
        let text = published_file::read(&path)?;
        let bad = |what: String| TokenizerError::BadFile { path: path.clone(), what };
        let json = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let Ok(tokenizer) = Self::from_json(&json) else { return published_file::load(folder, text, &json) };
        if !tokenizer.has_chat() && published_file::has_template(folder)? {
            return published_file::load(folder, text, &json);
        }
        let path = folder.join(CONFIG_FILE);
        if path.exists() {
            let config = read(&path)?;
            check_config(&tokenizer, &config).map_err(|what| TokenizerError::BadFile { path, what })?;
        }
        Ok(tokenizer)
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        let model = &json["model"];
        let vocabulary = model["vocab"].as_object().ok_or("it has no model.vocab")?;
        let tokenizer = match model["type"].as_str() {
            Some("WordLevel") if json["pre_tokenizer"]["pattern"]["Regex"] == PATTERN => {
                Self::Word(word_level(vocabulary)?)
            }
            Some("WordLevel") => Self::Char(char_level(vocabulary)?),
            Some("BPE") | None if vocabulary.len() == 256 => Self::Byte(super::ByteLevel),
            Some("BPE") | None if vocabulary.contains_key("<|endoftext|>") => Self::Gpt2(super::Gpt2),
            Some("BPE") | None => Self::Bpe(Bpe::from_json(model)?),
            Some(kind) => return Err(format!("its model.type is {kind:?}, and Lal reads BPE and WordLevel")),
        };
        // The kind is guessed from a few keys, and proved by the agreement of all others.
        if *vocabulary != tokenizer.vocabulary() {
            let (name, size) = (tokenizer.name(), vocabulary.len());
            return Err(format!("its {size} tokens are not those of a {name} tokenizer"));
        }
        let (merges, wanted) = (merges(model)?, tokenizer.merges());
        if merges != wanted {
            return Err(match merges.iter().zip(&wanted).position(|(one, other)| one != other) {
                Some(place) => {
                    let (a, b) = &merges[place];
                    format!("its merge {place}, {a:?} {b:?}, is not that of a {} tokenizer", tokenizer.name())
                }
                None => format!("it has {} merges, and {} belong to its tokens", merges.len(), wanted.len()),
            });
        }
        compare(&tokenizer, &tokenizer.frame(), json)?;
        let added = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        tokenizer.with_added(added.iter())
    }

    /// Extends by the special tokens that a file lists, whose ids must follow one another.
    fn with_added<'a>(self, added: impl Iterator<Item = &'a Value>) -> Result<Self, String> {
        let base = self.vocab_size();
        let mut specials = Vec::new();
        for token in added {
            is_plainly_special(token)?;
            if self.begin().is_some_and(|id| token["id"] == id && token["content"] == self.decode(&[id])) {
                continue;
            }
            let special = Special::ALL.into_iter().find(|special| token["content"] == special.content());
            let special =
                special.ok_or_else(|| format!("its special token {} is unknown", token["content"]))?;
            if specials.contains(&special) || token["id"] != base + specials.len() {
                return Err(format!("the id {} of {} is out of order", token["id"], special.content()));
            }
            specials.push(special);
        }
        Ok(self.with_specials(&specials))
    }

    /// A token as the file spells it; U+FFFD where there is none.
    pub fn spelled(&self, id: u32) -> String {
        match self {
            Self::Published(published) => published.spelled(id).unwrap_or("\u{FFFD}").to_owned(),
            Self::Extended(extended) if (id as usize) < extended.base().vocab_size() => {
                extended.base().spelled(id)
            }
            Self::Char(_) | Self::Word(_) | Self::Extended(_) => self.decode(&[id]),
            // It is no sequence of bytes, and is spelled as it is.
            Self::Gpt2(_) if id == END_OF_TEXT => self.decode(&[id]),
            _ => spelled(&self.token_bytes(id)),
        }
    }

    /// The pairs that are joined, in their order, as the file spells them.
    fn merges(&self) -> Vec<(String, String)> {
        match self {
            Self::Gpt2(gpt2) => gpt2.merges().iter().map(|(a, b)| (spelled(a), spelled(b))).collect(),
            Self::Bpe(trained) => trained.merges().to_vec(),
            _ => Vec::new(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let base = match self {
            Self::Extended(extended) => extended.base(),
            plain => plain,
        };
        let mut json = self.frame();
        json["model"]["vocab"] = base.vocabulary().into();
        if json["model"]["type"] == "BPE" {
            let lines = base.merges().into_iter().map(|(a, b)| format!("{a} {b}"));
            json["model"]["merges"] = lines.collect();
        }
        json
    }

    /// The file without vocabulary and merges.
    fn frame(&self) -> Value {
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let added = |id: u32, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        let bpe = || {
            json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                   "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false})
        };
        // No "<unk>" is in the vocabulary, so that an unknown character or word is an error there as well.
        let by_pattern = |pattern: &str| {
            (
                json!({"type": "WordLevel", "unk_token": "<unk>"}),
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
                json!({"type": "Fuse"}),
                json!([]),
            )
        };
        let (model, split, decoder, special) = match self {
            Self::Char(_) => by_pattern("[\\s\\S]"),
            Self::Word(_) => by_pattern(PATTERN),
            Self::Byte(_) => (bpe(), byte_level(false), byte_level(false), json!([])),
            Self::Gpt2(_) => {
                let special = json!([added(END_OF_TEXT, "<|endoftext|>")]);
                (bpe(), byte_level(true), byte_level(true), special)
            }
            Self::Bpe(_) => (bpe(), byte_level(true), byte_level(true), json!([])),
            Self::Published(_) => unreachable!("a published tokenizer has files of its own"),
            Self::Extended(extended) => {
                let mut json = extended.base().frame();
                let first = extended.base().vocab_size() as u32;
                let specials = extended.specials().iter().zip(first..);
                let mut all = json["added_tokens"].as_array().cloned().unwrap_or_default();
                all.extend(specials.map(|(special, id)| added(id, special.content())));
                json["added_tokens"] = all.into();
                return json;
            }
        };
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
               "normalizer": null, "pre_tokenizer": split, "post_processor": null, "decoder": decoder,
               "model": model})
    }

    /// Token → id as the file spells tokens: characters and words as they are, bytes as GPT-2 prints them.
    fn vocabulary(&self) -> Map<String, Value> {
        (0..self.vocab_size() as u32).map(|id| (self.spelled(id), id.into())).collect()
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

fn word_level(vocabulary: &Map<String, Value>) -> Result<WordLevel, String> {
    let mut words: Vec<_> = vocabulary.iter().map(|(word, id)| (id.as_u64(), word.clone())).collect();
    words.sort();
    match words.iter().zip(0..).find(|((id, _), place)| *id != Some(*place)) {
        Some((_, missing)) => Err(format!("no token has the id {missing}")),
        None => Ok(WordLevel::from_words(words.into_iter().map(|(_, word)| word).collect())),
    }
}

fn read(path: &Path) -> Result<Value, TokenizerError> {
    let text = files::read(path, MOST_BYTES)
        .map_err(|source| TokenizerError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| TokenizerError::BadFile { path: path.to_owned(), what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokenizer::NAMES;

    #[test]
    fn each_kind_survives_its_file() {
        for name in NAMES.into_iter().chain(["bpe:260"]) {
            let text = "any \"text\"\n\u{e9}\u{1F642} any text";
            let plain = Tokenizer::from_name(name, text).unwrap();
            for tokenizer in [plain.clone(), plain.clone().with_chat(), plain.with_mask().with_chat()] {
                let folder = tempfile::tempdir().unwrap();
                tokenizer.save(folder.path()).unwrap();
                let loaded = Tokenizer::load(folder.path()).unwrap();
                assert_eq!(loaded, tokenizer);
                assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
                assert_eq!(loaded.encode(text).unwrap(), tokenizer.encode(text).unwrap());
            }
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

    /// What differs from a file of Lal's own is another tokenizer, if it is one at all.
    #[test]
    fn what_is_not_ours_is_somebody_else_s() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Tokenizer::load(folder.path());
        assert!(load().unwrap_err().to_string().contains("tokenizer.json"));
        let put = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        put(r#"{"model": {"type": "Unigram", "vocab": {}}}"#);
        assert!(load().unwrap_err().to_string().contains("Unigram"));
        put(r#"{"model": {"type": "BPE", "vocab": {"a": 0, "ab": 2}, "merges": []}}"#);
        assert!(load().unwrap().published().is_some());
        let with_added = |added: &str| {
            let mut json = Tokenizer::from_name("char", "a").unwrap().to_json();
            json["added_tokens"] = serde_json::from_str(&format!("[{added}]")).unwrap();
            put(&json.to_string());
            load().map_err(|error| error.to_string())
        };
        for added in [
            r#"{"id": 1, "content": "<|tool|>", "special": true}"#,
            r#"{"id": 2, "content": "<|user|>", "special": true}"#,
            r#"{"id": 1, "content": "<|user|>", "special": false}"#,
            r#"{"id": 1, "content": "<|user|>", "special": true, "rstrip": true}"#,
        ] {
            assert!(with_added(added).unwrap().published().is_some(), "{added}");
        }
        let error = with_added(r#"{"id": 1, "content": "a"}"#).unwrap_err();
        assert!(error.contains("\"a\" as 1"), "{error}");
    }
}
