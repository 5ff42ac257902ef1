//! What a GGUF file says of a tokenizer.

use std::collections::HashMap;

use serde_json::Value;

use super::{BYTE, CONTROL, GgufTokenizer, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::text::tokenizer::Tokenizer;
use crate::text::tokenizer::folder::CHAT_TEMPLATE;
use crate::text::tokenizer::published::{Published, Role};
use crate::text::tokenizer::special::Special;

/// Names of the rules that a byte-level tokenizer may split a text by, one for each rule.
const RULES: [&str; 5] = ["gpt-2", "smollm", "llama-bpe", "qwen2", "default"];

/// What tells the rules apart: digits, contractions, marks of their own, spaces and ends of lines.
const TELLING: &str = "Hello World! I'm sure we'LL see 1234567 or 3.14  of them\n\n\t x=y;\r\n na\u{ef}ve \u{dc}n\u{ed}c\
                       ode e\u{301}t\u{e9} \u{4eca}\u{65e5}\u{306f} \u{1F642}\u{1F44D}\u{1F3FD} Camel_snake  ...   \u{0661}\u{0662}$9+^ end ";

impl GgufTokenizer {
    /// The keys of a tokenizer, for a model with so many rows of tokens: those that no token has get one that no text
    /// contains.
    ///
    /// # Errors
    /// When GGUF has none that gives a text the same tokens.
    pub fn of(tokenizer: &Tokenizer, rows: usize) -> Result<Self, String> {
        let json = json(tokenizer)?;
        let model = &json["model"];
        if !matches!(model["type"].as_str(), Some("BPE") | None) || !model["merges"].is_array() {
            return Err(format!(
                "its tokenizer is {}, and GGUF has those of byte pairs: train with --tokenizer bpe:N, byte or gpt2",
                tokenizer.name()
            ));
        }
        let mut keys = Self {
            merges: merges(&model["merges"])?,
            bos: tokenizer.begin(),
            eos: tokenizer.end(),
            add_bos: Some(false),
            ..Self::default()
        };
        keys.add_tokens(tokenizer, rows, &json);
        if let Some(published) = tokenizer.published() {
            keys.add_settings(published)?;
        }
        if Special::CHAT.iter().all(|&special| tokenizer.special(special).is_some()) {
            keys.chat_template = Some(CHAT_TEMPLATE.to_owned());
        }
        if json["pre_tokenizer"].to_string().contains("\"ByteLevel\"") {
            return keys.with_rule(tokenizer);
        }
        keys.add_scores();
        let prefixed = [true, false].map(|prefix| Self {
            model: "llama".into(),
            pre: Some("default".into()),
            add_space_prefix: Some(prefix),
            merges: Vec::new(),
            ..keys.clone()
        });
        prefixed
            .into_iter()
            .find(|keys| keys.agrees(tokenizer))
            .ok_or_else(|| "GGUF has no tokenizer that gives texts the same tokens as this one does".into())
    }

    fn with_rule(self, tokenizer: &Tokenizer) -> Result<Self, String> {
        let mut named = RULES.into_iter().map(|rule| Self {
            model: "gpt2".into(),
            pre: Some(rule.into()),
            ..self.clone()
        });
        named.find(|keys| keys.agrees(tokenizer)).ok_or_else(|| {
            "its pre_tokenizer splits a text by a rule that GGUF has no name for, of those that Lal knows"
                .into()
        })
    }

    /// Whether these keys give a text the same tokens.
    fn agrees(&self, tokenizer: &Tokenizer) -> bool {
        let Ok(built) = self.clone().build() else { return false };
        let pieces = |tokenizer: &Tokenizer| tokenizer.published().map(|one| one.pieces(TELLING).ok());
        let same_pieces = pieces(tokenizer).is_none_or(|own| Some(own) == pieces(&built));
        same_pieces && built.encode(TELLING).ok() == tokenizer.encode(TELLING).ok()
    }

    fn add_tokens(&mut self, tokenizer: &Tokenizer, rows: usize, json: &Value) {
        let falls_back = json["model"]["byte_fallback"] == true;
        for id in 0..rows.max(tokenizer.vocab_size()) {
            let spelled = match tokenizer.published() {
                Some(published) if id < published.vocab_size() => {
                    published.spelled(id as u32).map(str::to_owned)
                }
                _ if id < tokenizer.vocab_size() => Some(tokenizer.spelled(id as u32)),
                _ => None,
            };
            let is_byte = |token: &String| falls_back && token.len() == 6 && token.starts_with("<0x");
            self.token_types.push(match &spelled {
                None => UNUSED,
                Some(token) if is_byte(token) => BYTE,
                Some(_) => NORMAL,
            });
            self.tokens.push(spelled.unwrap_or_else(|| format!("[PAD{id}]")));
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let id = token["id"].as_u64().and_then(|id| usize::try_from(id).ok());
            if let Some(kind) = id.and_then(|id| self.token_types.get_mut(id)) {
                *kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
            }
        }
    }

    fn add_settings(&mut self, published: &Published) -> Result<(), String> {
        let settings = published.settings();
        let [before, after] = published.around();
        if !after.is_empty() || before.iter().any(|&id| Some(id) != self.bos) {
            return Err("it puts other tokens around a text than the first, which no key of GGUF says".into());
        }
        self.add_bos = Some(!before.is_empty());
        (self.unk, self.pad) = (settings.id(Role::Unknown), settings.id(Role::Pad));
        self.eot = settings.stops().iter().copied().find(|&id| Some(id) != self.eos);
        self.chat_template = published.template().map(|template| template.source().to_owned());
        Ok(())
    }

    /// The earlier two tokens are joined, the higher the score of what they make.
    fn add_scores(&mut self) {
        let mut places = HashMap::new();
        for (place, merge) in self.merges.iter().enumerate() {
            places.entry(merge.replacen(' ', "", 1)).or_insert(place);
        }
        let last = self.merges.len();
        let score = |token: &String| -(*places.get(token).unwrap_or(&last) as f32);
        self.scores = self.tokens.iter().map(score).collect();
        if let Some(kind) = self.unk.and_then(|id| self.token_types.get_mut(id as usize)) {
            *kind = UNKNOWN;
        }
    }
}

/// The `tokenizer.json`.
fn json(tokenizer: &Tokenizer) -> Result<Value, String> {
    let json = match tokenizer.published() {
        Some(published) if tokenizer.specials().is_empty() => {
            serde_json::from_str(&published.files().tokenizer)
        }
        Some(published) => published.extended(tokenizer.specials()),
        None => Ok(tokenizer.to_json()),
    };
    json.map_err(|error| error.to_string())
}

/// Pairs as `a b` each.
fn merges(merges: &Value) -> Result<Vec<String>, String> {
    let pair = |merge: &Value| match (merge, merge.get(0), merge.get(1)) {
        (Value::String(pair), ..) => Some(pair.clone()),
        (_, Some(Value::String(a)), Some(Value::String(b))) if !a.contains(' ') && !b.contains(' ') => {
            Some(format!("{a} {b}"))
        }
        _ => None,
    };
    let merges = merges.as_array().into_iter().flatten();
    merges.map(|merge| pair(merge).ok_or_else(|| format!("GGUF cannot say the merge {merge}"))).collect()
}
