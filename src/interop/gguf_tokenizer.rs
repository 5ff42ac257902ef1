//! The keys of a GGUF file that describe its tokenizer.

use super::error::ContainerError;
use super::gguf::metadata::Metadata;
use super::gguf::value::{Array, FromValue, Value};
use crate::text::tokenizer::gguf::GgufTokenizer;

const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// Names that begin with `tokenizer.ggml.` and end with `_token_id`, with their places.
type Id = (&'static str, fn(&mut GgufTokenizer) -> &mut Option<u32>);
const IDS: [Id; 5] = [
    ("bos", |keys| &mut keys.bos),
    ("eos", |keys| &mut keys.eos),
    ("eot", |keys| &mut keys.eot),
    ("unknown", |keys| &mut keys.unk),
    ("padding", |keys| &mut keys.pad),
];

/// Names after `tokenizer.ggml.` that are read, and those that say nothing of what a text's tokens are.
const KNOWN: [&str; 9] = [
    "model",
    "pre",
    "tokens",
    "scores",
    "token_type",
    "merges",
    "add_bos_token",
    "add_space_prefix",
    "token_type_count",
];

/// Reads the keys.
///
/// # Errors
/// When one has a value of another type, or is unknown and may change what a text's tokens are.
pub fn read(metadata: &Metadata) -> Result<GgufTokenizer, ContainerError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| -> Result<Vec<String>, ContainerError> {
        Ok(metadata.find::<&[String]>(&key(name))?.unwrap_or_default().to_vec())
    };
    let types: Vec<i64> = metadata.find(&key("token_type"))?.unwrap_or_default();
    let mut found = GgufTokenizer {
        model: metadata.get::<&str>(&key("model"))?.to_owned(),
        pre: metadata.find::<&str>(&key("pre"))?.map(str::to_owned),
        tokens: texts("tokens")?,
        scores: metadata.find::<&[f32]>(&key("scores"))?.unwrap_or_default().to_vec(),
        token_types: types.into_iter().map(|kind| kind as i32).collect(),
        merges: texts("merges")?,
        add_bos: metadata.find(&key("add_bos_token"))?,
        add_space_prefix: metadata.find(&key("add_space_prefix"))?,
        chat_template: metadata.find::<&str>(CHAT_TEMPLATE)?.map(str::to_owned),
        ..GgufTokenizer::default()
    };
    for (name, place) in IDS {
        *place(&mut found) = metadata.find(&key(&format!("{name}_token_id")))?;
    }
    for (name, value) in metadata.entries() {
        let Some(own) = name.strip_prefix("tokenizer.ggml.") else { continue };
        let is_known = KNOWN.contains(&own) || own.ends_with("_token_id");
        let says_nothing = match value {
            Value::Bool(truth) => !truth,
            Value::Array(array) => array.is_empty(),
            number => usize::from_value(number) == Some(0),
        };
        if !is_known && !says_nothing {
            let shown = serde_json::to_string(value).unwrap_or_default();
            let what = format!(
                "is {shown:.40}, and Lal does not know it: a text would have other tokens without it"
            );
            return Err(metadata.wrong(name, what));
        }
    }
    Ok(found)
}

/// Writes the keys.
pub fn write(tokenizer: GgufTokenizer, metadata: &mut Metadata) {
    let mut tokenizer = tokenizer;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    metadata.insert(&key("model"), tokenizer.model.as_str());
    if let Some(pre) = &tokenizer.pre {
        metadata.insert(&key("pre"), pre.as_str());
    }
    for (name, place) in IDS {
        if let Some(id) = place(&mut tokenizer) {
            metadata.insert(&key(&format!("{name}_token_id")), *id);
        }
    }
    metadata.insert(&key("tokens"), tokenizer.tokens);
    if !tokenizer.scores.is_empty() {
        metadata.insert(&key("scores"), tokenizer.scores);
    }
    metadata.insert(&key("token_type"), tokenizer.token_types);
    if !tokenizer.merges.is_empty() {
        metadata.insert(&key("merges"), Value::Array(Array::String(tokenizer.merges)));
    }
    for (name, truth) in
        [("add_bos_token", tokenizer.add_bos), ("add_space_prefix", tokenizer.add_space_prefix)]
    {
        if let Some(truth) = truth {
            metadata.insert(&key(name), truth);
        }
    }
    if let Some(template) = tokenizer.chat_template {
        metadata.insert(CHAT_TEMPLATE, template);
    }
}
