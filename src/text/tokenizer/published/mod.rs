//! A tokenizer that others published: any `tokenizer.json`, run by Hugging Face's `tokenizers`.
//!
//! The library normalizes, splits and models. The rest is done here: special tokens, which no text of a user may become
//! (`added`), the bytes of each token (`spelling`), and the settings in the other files of the folder (`settings`).

mod added;
mod caught;
mod guard;
mod json;
mod settings;
mod spelling;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::{
    Encoding, Model, ModelWrapper, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Token,
};

use super::{Special, TokenizerError, digits};
use crate::text::template::Template;

use added::Added;
pub use added::Foreign;
pub use caught::catches_panics;
use caught::caught;
pub use guard::Guard;
pub use settings::{Files, GENERATION, ROLES, Role, Settings};
use spelling::Spelling;

/// What the other files of the folder are called, which are kept as they are.
const TOKENIZER: &str = super::folder::FILE;

/// A published tokenizer. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Published(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As they were read, to be written again.
    files: Files,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    model: ModelWrapper,
    added: Added,
    guard: Guard,
    spelling: Spelling,
    /// By id: how the file writes it. Ids may be missing.
    tokens: Vec<Option<String>>,
    /// What the file puts before and after a text.
    around: [Vec<u32>; 2],
    settings: Settings,
    /// Of all that decides ids, the tokens apart.
    rules: String,
}

/// A token and the bytes of the text that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub id: u32,
    /// In the text as it was given.
    pub bytes: std::ops::Range<usize>,
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        self.0.tokens == other.0.tokens && self.0.rules == other.0.rules
    }
}

impl Eq for Published {}

impl Published {
    /// The tokenizer that `files` describe. The error is of the file, and of the key in it.
    ///
    /// # Errors
    /// When a part is none that the library or Lal knows, or the files contradict each other.
    pub fn new(files: Files) -> Result<Self, (&'static str, String)> {
        let parts = json::Parts::read(&files.tokenizer).map_err(|what| (TOKENIZER, what))?;
        let json::Parts { normalizer, pre_tokenizer, model, spelling, mut tokens, mut added, around, rules } =
            parts;
        let settings = Settings::read(&files, &mut tokens, &mut added)?;
        let around = settings.around(around);
        // What only a conversation's form may write, whether or not it is called special.
        let control = settings.control(&added, &tokens);
        let added = Added::new(added, control, normalizer.as_ref()).map_err(|what| (TOKENIZER, what))?;
        let guard = Guard::new(added.control_tokens());
        let inner = Inner {
            files,
            normalizer,
            pre_tokenizer,
            model,
            added,
            guard,
            spelling,
            tokens,
            around,
            settings,
            rules,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The ids below which all are.
    pub fn vocab_size(&self) -> usize {
        self.0.tokens.len()
    }

    /// How the file writes a token; `None` where no token has this id.
    pub fn spelled(&self, id: u32) -> Option<&str> {
        self.0.tokens.get(id as usize)?.as_deref()
    }

    /// The bytes that a token stands for, a space before a word among them.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let spelled = self.spelled(id)?;
        let is_as_it_is = self.0.added.has(id) && !self.0.spelling.has_words();
        Some(if is_as_it_is { spelled.into() } else { self.0.spelling.bytes(spelled) })
    }

    /// Whether a space at the very beginning is not part of the text.
    pub fn drops_first_space(&self) -> bool {
        self.0.spelling.drops_first_space
    }

    /// The ids of a text, in which no special token is found.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encoding(text, Foreign::All, OffsetType::None)?.get_ids().to_vec())
    }

    /// The tokens of a text, special ones among them but for those that hold a byte of `foreign`.
    pub fn encode_with_special(&self, text: &str, foreign: &[usize]) -> Result<Vec<Placed>, TokenizerError> {
        let encoding = self.encoding(text, Foreign::At(foreign), OffsetType::Byte)?;
        let placed = |(&id, &(start, end))| Placed { id, bytes: start..end };
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(placed).collect())
    }

    fn encoding(
        &self,
        text: &str,
        foreign: Foreign<'_>,
        offsets: OffsetType,
    ) -> Result<Encoding, TokenizerError> {
        let Inner { normalizer, pre_tokenizer, added, .. } = &*self.0;
        caught(|| {
            let mut split = PreTokenizedString::from(text);
            split.split(|_, part| added.cut(part, foreign))?;
            split.split(|_, mut part| {
                if let Some(normalizer) = normalizer {
                    normalizer.normalize(&mut part)?;
                }
                added.cut_normalized(part, foreign)
            })?;
            if let Some(pre_tokenizer) = pre_tokenizer {
                pre_tokenizer.pre_tokenize(&mut split)?;
            }
            split.tokenize(|part| self.model(part.get()))?;
            split.into_encoding(None, 0, offsets)
        })
        .map_err(TokenizerError::Library)
    }

    /// The tokens of a piece. A model may know special tokens as pieces: those are cut after their first character.
    fn model(&self, piece: &str) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.0.model.tokenize(piece)?;
        // The unknown token is what a model makes of any text.
        let unknown = self.0.settings.id(Role::Unknown);
        let is_control = |token: &&Token| self.0.added.is_control(token.id) && Some(token.id) != unknown;
        let Some(control) = tokens.iter().find(is_control) else {
            return Ok(tokens);
        };
        let first = piece[control.offsets.0..].chars().next().map_or(0, char::len_utf8);
        let cut = control.offsets.0 + first;
        if cut == 0 || cut >= piece.len() {
            // One character that is a special token: nobody calls one so.
            return Ok(tokens);
        }
        let mut all = self.model(&piece[..cut])?;
        for mut token in self.model(&piece[cut..])? {
            token.offsets = (token.offsets.0 + cut, token.offsets.1 + cut);
            all.push(token);
        }
        Ok(all)
    }

    /// The pieces of a text. Each is split into tokens by itself.
    pub(in crate::text::tokenizer) fn pieces(&self, text: &str) -> Result<Vec<String>, TokenizerError> {
        let Inner { normalizer, pre_tokenizer, .. } = &*self.0;
        caught(|| {
            let mut split = PreTokenizedString::from(text);
            if let Some(normalizer) = normalizer {
                split.normalize(|part| normalizer.normalize(part))?;
            }
            if let Some(pre_tokenizer) = pre_tokenizer {
                pre_tokenizer.pre_tokenize(&mut split)?;
            }
            let pieces = split.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
            Ok(pieces.into_iter().map(|(piece, ..)| piece.to_owned()).collect())
        })
        .map_err(TokenizerError::Library)
    }

    /// The ids before and after a text that is given to the model.
    pub fn around(&self) -> &[Vec<u32>; 2] {
        &self.0.around
    }

    /// What the folder says of special tokens.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The form of its conversations.
    pub fn template(&self) -> Option<&Template> {
        self.0.settings.template.as_ref()
    }

    /// What keeps special tokens out of messages.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Whether a token is special: no message contains it.
    pub fn is_control(&self, id: u32) -> bool {
        self.0.added.is_control(id)
    }

    /// The files that it was read from, those that are there.
    pub fn files(&self) -> &Files {
        &self.0.files
    }

    /// Its `tokenizer.json` with more special tokens after all ids.
    pub(super) fn extended(&self, specials: &[Special]) -> Result<Value, serde_json::Error> {
        let mut json: Value = serde_json::from_str(&self.0.files.tokenizer)?;
        let added = specials.iter().zip(self.vocab_size()..).map(|(special, id)| {
            serde_json::json!({"id": id, "content": special.content(), "single_word": false, "lstrip": false,
                               "rstrip": false, "normalized": false, "special": true})
        });
        match json["added_tokens"].as_array_mut() {
            Some(all) => all.extend(added),
            None => json["added_tokens"] = added.collect(),
        }
        Ok(json)
    }

    /// What tells this tokenizer from others with equal tokens.
    pub fn rules_fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.0.rules);
        digits(hash)
    }
}
