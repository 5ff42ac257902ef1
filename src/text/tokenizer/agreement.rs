//! Whether the files of a tokenizer say what Lal's own tokenizer does: every key that decides an id, or what an id
//! reads as, must agree. Nothing is left out because it is unknown.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Tokenizer;

/// Keys of `tokenizer_config.json` that decide no id of a text: names of special tokens, what `transformers` returns,
/// how it pads and decodes, and its chat template.
const HARMLESS: [&str; 36] = [
    "added_tokens_decoder",
    "additional_special_tokens",
    "auto_map",
    "backend",
    "bos_token",
    "chat_template",
    "clean_up_tokenization_spaces",
    "cls_token",
    "eos_token",
    "errors",
    "extra_special_tokens",
    "image_token",
    "init_inputs",
    "is_local",
    "local_files_only",
    "mask_token",
    "max_length",
    "model_input_names",
    "model_max_length",
    "model_specific_special_tokens",
    "name_or_path",
    "pad_token",
    "pad_token_id",
    "padding_side",
    "processor_class",
    "sep_token",
    "spaces_between_special_tokens",
    "special_tokens_map_file",
    "split_special_tokens",
    "tokenizer_class",
    "tokenizer_file",
    "trim_offsets",
    "truncation_side",
    "unk_token",
    "use_fast",
    "vocab_size",
];

/// Those that take `tokenizer.json` as it stands, or build GPT-2's.
const CLASSES: [&str; 5] = [
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
];

/// Where `theirs`, a `tokenizer.json`, says something else than `ours`; vocabulary, merges and added tokens apart.
pub(super) fn compare(tokenizer: &Tokenizer, ours: &Value, theirs: &Value) -> Result<(), String> {
    let splits_matter = !matches!(tokenizer, Tokenizer::Byte(_));
    let (ours, theirs) = (leaves(ours, splits_matter)?, leaves(theirs, splits_matter)?);
    let name = tokenizer.name();
    for (key, value) in &theirs {
        match ours.get(key) {
            Some(wanted) if wanted == value => {}
            Some(wanted) => {
                return Err(format!("its {key} is {value}, and a {name} tokenizer of Lal's has {wanted}"));
            }
            None => return Err(format!("its {key} is {value}, and a {name} tokenizer of Lal's has none")),
        }
    }
    match ours.iter().find(|(key, _)| !theirs.contains_key(*key)) {
        Some((key, wanted)) => Err(format!("it has no {key}, and a {name} tokenizer of Lal's has {wanted}")),
        None => Ok(()),
    }
}

/// Everything in a `tokenizer.json` that decides something, by its path: what stands for "not there" is left out, and
/// what may be left out is put in.
fn leaves(json: &Value, splits_matter: bool) -> Result<BTreeMap<String, Value>, String> {
    let mut json = json.as_object().cloned().ok_or("it is no JSON object")?;
    for elsewhere in ["version", "added_tokens"] {
        json.remove(elsewhere);
    }
    if let Some(model) = json.get_mut("model").and_then(Value::as_object_mut) {
        model.remove("vocab");
        model.remove("merges");
        // Files from before the library wrote the type of a model.
        model.entry("type").or_insert("BPE".into());
    }
    if let Some(splits) = byte_level(&mut json, "pre_tokenizer") {
        splits.remove("trim_offsets");
        splits.entry("use_regex").or_insert(true.into());
        if !splits_matter {
            splits.remove("use_regex");
        }
    }
    if let Some(decoder) = byte_level(&mut json, "decoder") {
        decoder.retain(|key, _| key == "type");
    }
    // The one moves offsets, the other adds nothing to a text: `transformers` writes it where there is none.
    let single = json.get("post_processor").and_then(|post| post["single"].as_array());
    let adds_nothing = matches!(single.map(Vec::as_slice),
        Some([piece]) if piece["Sequence"]["id"] == "A");
    if byte_level(&mut json, "post_processor").is_some() || adds_nothing {
        json.remove("post_processor");
    }
    let mut leaves = BTreeMap::new();
    collect(String::new(), &Value::Object(json), &mut leaves);
    Ok(leaves)
}

fn byte_level<'a>(json: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let part = json.get_mut(key)?.as_object_mut()?;
    (part.get("type")? == "ByteLevel").then_some(part)
}

fn collect(path: String, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null | Value::Bool(false) => {}
        Value::String(text) if text.is_empty() => {}
        Value::Number(number) if number.as_f64() == Some(0.0) => {}
        Value::Object(keys) if !keys.is_empty() => {
            let before = leaves.len();
            for (key, value) in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(path, value, leaves);
            }
            // It is there, whatever its keys leave open.
            if leaves.len() == before {
                leaves.insert(path, value.clone());
            }
        }
        Value::Object(_) => {}
        Value::Array(items) if items.is_empty() => {}
        _ => {
            leaves.insert(path, value.clone());
        }
    }
}

/// The pairs of a model's merges, which are written `"a b"` or `["a", "b"]`.
pub(super) fn merges(model: &Value) -> Result<Vec<(String, String)>, String> {
    let pair = |merge: &Value| match merge {
        Value::String(line) => line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(pair) => match &pair[..] {
            [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
            _ => None,
        },
        _ => None,
    };
    let list = model["merges"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|merge| pair(merge).ok_or_else(|| format!("its merge {merge} is no pair"))).collect()
}

/// Whether an entry of `added_tokens` is a special token as Lal has them: found only where it stands whole, and taking
/// nothing around it along.
pub(super) fn is_plainly_special(token: &Value) -> Result<(), String> {
    let content = &token["content"];
    if token["special"] == false {
        return Err(format!("its added token {content} is not special: texts would be cut at it"));
    }
    match ["single_word", "lstrip", "rstrip"].into_iter().find(|flag| token[flag] == true) {
        Some(flag) => Err(format!("its special token {content} has {flag} true, and Lal's have false")),
        None => Ok(()),
    }
}

/// Whether `tokenizer_config.json` leaves the ids to `tokenizer.json`.
pub(super) fn check_config(tokenizer: &Tokenizer, config: &Value) -> Result<(), String> {
    let keys = config.as_object().ok_or("it is no JSON object")?;
    for (key, value) in keys {
        let says_nothing = matches!(value, Value::Null | Value::Bool(false));
        if !says_nothing && !HARMLESS.contains(&key.as_str()) {
            return Err(format!(
                "{key} is {value}, and Lal knows no such thing: take it out if texts have the same ids without"
            ));
        }
    }
    match &config["tokenizer_class"] {
        Value::Null => {}
        Value::String(class) if CLASSES.contains(&class.as_str()) => {}
        class => return Err(format!("tokenizer_class is {class}, and Lal reads {}", CLASSES.join(", "))),
    }
    for (id, token) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
        let known = id.parse().is_ok_and(|id: u32| {
            (id as usize) < tokenizer.vocab_size() && token["content"] == tokenizer.decode(&[id])
        });
        if !known {
            return Err(format!(
                "added_tokens_decoder has {} as {id}, and tokenizer.json has not",
                token["content"]
            ));
        }
    }
    Ok(())
}
