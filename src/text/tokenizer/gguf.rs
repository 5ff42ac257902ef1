//! The tokenizer of a GGUF file, from what its metadata says: turned into the `tokenizer.json` that it came from.

mod describe;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::folder::CHAT_TEMPLATE;
use super::published::Files;
use super::published_file::from_files;
use super::{Special, Tokenizer};

/// What the keys `tokenizer.ggml.*` of a GGUF file say, each by its name there, and `tokenizer.chat_template`.
#[derive(Clone, Debug, Default)]
pub struct GgufTokenizer {
    /// `gpt2`: byte-level pairs; `llama`: SentencePiece's pairs by score.
    pub model: String,
    /// By which rule `gpt2` splits a text.
    pub pre: Option<String>,
    pub tokens: Vec<String>,
    /// As many as tokens, or none.
    pub scores: Vec<f32>,
    /// Of each token, 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 a byte; or none.
    pub token_types: Vec<i32>,
    /// `a b` each.
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// Ends a turn, where that is another token.
    pub eot: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    pub add_bos: Option<bool>,
    pub add_space_prefix: Option<bool>,
    pub chat_template: Option<String>,
}

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Llama 3's rule, of whose digits there are up to as many.
const LLAMA3: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// What a file of no known rule is split by, one after the other, as llama.cpp does.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

impl GgufTokenizer {
    /// The tokenizer. An error begins with the key that it is about.
    ///
    /// # Errors
    /// When the kind or the rule is none that Lal knows, or the keys contradict each other.
    pub fn build(self) -> Result<Tokenizer, String> {
        self.check()?;
        let json = match self.model.as_str() {
            "gpt2" => self.byte_level()?,
            "llama" => self.sentence_piece()?,
            other => return Err(format!("tokenizer.ggml.model is {other:?}, and Lal reads gpt2 and llama")),
        };
        let published = self.published();
        let is_published = |id: &u32| (*id as usize) < published;
        let token = |id: Option<u32>| id.filter(is_published).map(|id| self.tokens[id as usize].as_str());
        let begins = self.add_bos.unwrap_or(match self.pre.as_deref() {
            _ if self.model == "llama" => true,
            Some(pre) => splits(pre).is_some_and(|split| matches!(split, Split::Llama3)),
            None => false,
        });
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token(self.bos), "eos_token": token(self.eos), "unk_token": token(self.unk),
            "pad_token": token(self.pad), "add_bos_token": begins && self.bos.is_some(),
            "chat_template": self.chat_template,
        });
        let stops: Vec<u32> = [self.eos, self.eot].into_iter().flatten().filter(is_published).collect();
        let files = Files {
            tokenizer: json.to_string(),
            config: Some(config.to_string()),
            generation: Some(json!({"eos_token_id": stops}).to_string()),
            ..Files::default()
        };
        from_files(files, &json).map_err(|(file, what)| {
            let key = if what.contains("chat template") { "chat_template" } else { "ggml" };
            format!("tokenizer.{key}, as a {file}: {what}")
        })
    }

    fn check(&self) -> Result<(), String> {
        let size = self.tokens.len();
        if size == 0 {
            return Err("tokenizer.ggml.tokens has none".into());
        }
        for (key, length) in [("scores", self.scores.len()), ("token_type", self.token_types.len())] {
            if length != 0 && length != size {
                return Err(format!(
                    "tokenizer.ggml.{key} has {length} entries, and there are {size} tokens"
                ));
            }
        }
        let ids = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("unknown", self.unk),
            ("padding", self.pad),
        ];
        for (key, id) in ids {
            if id.is_some_and(|id| id as usize >= size) {
                return Err(format!(
                    "tokenizer.ggml.{key}_token_id is {}, and there are {size} tokens",
                    id.unwrap_or_default()
                ));
            }
        }
        let mut ids = HashMap::with_capacity(size);
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(other) = ids.insert(token.as_str(), id) {
                return Err(format!("tokenizer.ggml.tokens has {token:?} as {other} and as {id}"));
            }
        }
        Ok(())
    }

    /// How many tokens there are without those of Lal's own conversations, which extend what was published.
    fn published(&self) -> usize {
        let is_own = |id: &usize| {
            self.has_type(*id, CONTROL) && Special::ALL.iter().any(|own| own.content() == self.tokens[*id])
        };
        let has_template = self.chat_template.as_deref() == Some(CHAT_TEMPLATE);
        let own = (0..self.tokens.len()).rev().take_while(|id| has_template && is_own(id)).count();
        self.tokens.len() - own
    }

    fn vocabulary(&self) -> Map<String, Value> {
        self.tokens
            .iter()
            .enumerate()
            .take(self.published())
            .map(|(id, token)| (token.clone(), id.into()))
            .collect()
    }

    fn has_type(&self, id: usize, kind: i32) -> bool {
        self.token_types.get(id) == Some(&kind)
    }

    /// Tokens that a text is cut at: special ones, and a user's.
    fn added(&self) -> Value {
        let named = [self.bos, self.eos, self.eot, self.pad];
        let is_named = |id: usize| named.iter().flatten().any(|&named| named as usize == id);
        let special = |id: usize| self.has_type(id, CONTROL) || self.has_type(id, UNKNOWN) || is_named(id);
        let added = self.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty());
        let added =
            added.filter(|&(id, _)| special(id) || self.has_type(id, USER_DEFINED)).map(|(id, token)| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": special(id)})
            });
        added.collect()
    }

    fn byte_level(&self) -> Result<Value, String> {
        let pre = self.pre.as_deref().unwrap_or("default");
        let split = splits(pre).ok_or_else(|| {
            format!("tokenizer.ggml.pre is {pre:?}, and Lal knows {}", PRE.map(|(name, _)| name).join(", "))
        })?;
        let merges: Vec<Value> = self.merges.iter().map(|merge| Value::from(merge.as_str())).collect();
        let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let by = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let pretokenizers = match split {
            Split::Gpt2 => vec![bytes(true)],
            Split::Digits => vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)],
            Split::Llama3 => vec![by(&LLAMA3.join("{1,3}")), bytes(false)],
            Split::Qwen2 => vec![by(&LLAMA3.concat()), bytes(false)],
            Split::Default => DEFAULT.iter().map(|regex| by(regex)).chain([bytes(false)]).collect(),
        };
        let normalizer = matches!(split, Split::Qwen2).then(|| json!({"type": "NFC"}));
        Ok(json!({
            "version": "1.0", "added_tokens": self.added(), "normalizer": normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": pretokenizers},
            "post_processor": null, "decoder": bytes(true),
            "model": {"type": "BPE", "vocab": self.vocabulary(), "merges": merges,
                      "ignore_merges": matches!(split, Split::Llama3)},
        }))
    }

    /// Its pairs are all that make a token, the one with the highest score first (as `transformers` converts them).
    fn sentence_piece(&self) -> Result<Value, String> {
        if self.scores.is_empty() {
            return Err(
                "tokenizer.ggml.scores is missing, by which a llama tokenizer joins its tokens".into()
            );
        }
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(format!("tokenizer.ggml.scores has no number for the token {id}"));
        }
        let ids: HashMap<&str, usize> = self.tokens.iter().map(String::as_str).zip(0..).collect();
        let mut merges = Vec::new();
        for (whole, token) in self.tokens.iter().enumerate() {
            // Only what a text is made of; special tokens and bytes are not put together.
            if !self.token_types.is_empty() && !self.has_type(whole, 1) || token.len() > LONGEST {
                continue;
            }
            for (at, _) in token.char_indices().skip(1) {
                if let (Some(&a), Some(&b)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                    merges.push((whole, a, b));
                }
            }
        }
        merges.sort_by(|x, y| self.scores[y.0].total_cmp(&self.scores[x.0]).then(x.cmp(y)));
        let merges: Vec<Value> =
            merges.iter().map(|&(_, a, b)| json!([self.tokens[a], self.tokens[b]])).collect();
        let replace =
            |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let prefixed = self.add_space_prefix.unwrap_or(true);
        let mut normalizers = vec![replace(" ", "▁")];
        let mut decoders = vec![replace("▁", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if prefixed {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.unk.map(|id| self.tokens[id as usize].as_str());
        Ok(json!({
            "version": "1.0", "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": null,
            "post_processor": null, "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "vocab": self.vocabulary(), "merges": merges, "unk_token": unknown,
                      "fuse_unk": true, "byte_fallback": true},
        }))
    }
}

/// Bytes of a token above which it is no piece of a text, whose cuts would take long to look up.
const LONGEST: usize = 1024;

#[derive(Clone, Copy)]
enum Split {
    Gpt2,
    /// GPT-2's after each digit was put by itself.
    Digits,
    Llama3,
    Qwen2,
    Default,
}

const PRE: [(&str, Split); 20] = [
    ("default", Split::Default),
    ("gpt-2", Split::Gpt2),
    ("gpt2", Split::Gpt2),
    ("phi-2", Split::Gpt2),
    ("mpt", Split::Gpt2),
    ("olmo", Split::Gpt2),
    ("jais", Split::Gpt2),
    ("exaone4", Split::Gpt2),
    ("smollm", Split::Digits),
    ("starcoder", Split::Digits),
    ("refact", Split::Digits),
    ("command-r", Split::Digits),
    ("codeshell", Split::Digits),
    ("llama-bpe", Split::Llama3),
    ("llama3", Split::Llama3),
    ("llama-v3", Split::Llama3),
    ("dbrx", Split::Llama3),
    ("smaug-bpe", Split::Llama3),
    ("qwen2", Split::Qwen2),
    ("stablelm2", Split::Qwen2),
];

fn splits(pre: &str) -> Option<Split> {
    PRE.iter().find(|(name, _)| *name == pre).map(|(_, split)| *split)
}
