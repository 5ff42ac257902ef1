//! The files of a published tokenizer, and back.

use std::path::Path;

use serde_json::Value;

use super::agreement::is_plainly_special;
use super::folder::{CHAT_TEMPLATE, FILE, MOST_BYTES, write};
use super::published::{Files, Published};
use super::{Special, Tokenizer, TokenizerError};
use crate::files::{self, SETTINGS_BYTES, write_whole};

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const GENERATION: &str = "generation_config.json";
const MODEL: &str = "config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// The text of a `tokenizer.json`.
pub fn read(path: &Path) -> Result<String, TokenizerError> {
    read_within(path, MOST_BYTES)
}

fn read_within(path: &Path, most: u64) -> Result<String, TokenizerError> {
    files::read_to_string(path, most).map_err(|source| TokenizerError::Io { path: path.to_owned(), source })
}

/// The text of another file of a folder; `None` where there is none.
fn other(folder: &Path, name: &str) -> Result<Option<String>, TokenizerError> {
    let path = folder.join(name);
    if path.exists() { read_within(&path, SETTINGS_BYTES).map(Some) } else { Ok(None) }
}

/// The value of a key; `null` where there is none, or no object to have one.
fn taken(json: &mut Value, key: &str) -> Value {
    json.get_mut(key).map_or(Value::Null, Value::take)
}

/// Whether a folder has a form of conversations that is not Lal's. What is no JSON is for others to say.
pub fn has_template(folder: &Path) -> Result<bool, TokenizerError> {
    if folder.join(TEMPLATE).exists() {
        return Ok(true);
    }
    let config = other(folder, CONFIG)?.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let template = config.map_or(Value::Null, |mut config| taken(&mut config, "chat_template"));
    Ok(!template.is_null() && template != CHAT_TEMPLATE)
}

/// The tokenizer that the files of a folder describe, `text` and `json` being its `tokenizer.json`.
pub fn load(folder: &Path, text: String, json: &Value) -> Result<Tokenizer, TokenizerError> {
    let model = other(folder, MODEL)?.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let files = Files {
        tokenizer: text,
        config: other(folder, CONFIG)?,
        special: other(folder, SPECIAL)?,
        generation: other(folder, GENERATION)?,
        template: other(folder, TEMPLATE)?,
        model: model.map(|mut config| taken(&mut config, "eos_token_id")),
    };
    let wrong = |(name, what): (&str, String)| TokenizerError::BadFile { path: folder.join(name), what };
    from_files(files, json).map_err(wrong)
}

impl Tokenizer {
    /// The tokenizer of a `tokenizer.json`, whatever its name, with the other files of its folder if it has that name.
    ///
    /// # Errors
    /// As [`load`](Tokenizer::load).
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        if path.file_name().is_some_and(|name| name == FILE) {
            return Self::load(
                path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")),
            );
        }
        let bad = |what: String| TokenizerError::BadFile { path: path.to_owned(), what };
        let text = read(path)?;
        let json: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let files = Files { tokenizer: text, ..Files::default() };
        from_files(files, &json).map_err(|(_, what)| bad(what))
    }
}

/// The tokens of Lal's own conversations are taken off the end of the file's: they extend what was published.
pub fn from_files(mut files: Files, json: &Value) -> Result<Tokenizer, (&'static str, String)> {
    let added = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let special = |token: &Value| {
        let special = Special::ALL.into_iter().find(|one| token["content"] == one.content());
        special.filter(|_| is_plainly_special(token).is_ok())
    };
    let own: Vec<Special> = added.iter().rev().map_while(special).collect();
    // Others call tokens of theirs the same, Phi-3 for one: Lal's have Lal's template, or none is needed.
    let config = files.config.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let ours =
        files.template.is_none() && config.is_some_and(|config| config["chat_template"] == CHAT_TEMPLATE);
    if own.is_empty() || !ours && own != [Special::Mask] {
        return Published::new(files).map(Tokenizer::Published);
    }
    let own: Vec<Special> = own.into_iter().rev().collect();
    let mut without = json.clone();
    without["added_tokens"] = added[..added.len() - own.len()].to_vec().into();
    let whole = std::mem::replace(&mut files.tokenizer, without.to_string());
    let published = Published::new(files.clone())?;
    let first = published.vocab_size();
    let ours = &added[added.len() - own.len()..];
    if ours.iter().zip(first..).all(|(token, id)| token["id"] == id) {
        return Ok(Tokenizer::Published(published).with_specials(&own));
    }
    // Their own tokens of the same names.
    files.tokenizer = whole;
    Published::new(files).map(Tokenizer::Published)
}

/// Writes the files of a tokenizer that `specials` extend.
pub fn save(published: &Published, specials: &[Special], folder: &Path) -> Result<(), TokenizerError> {
    let path = folder.join(FILE);
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes()).map_err(|error| TokenizerError::Io { path, source: error.source })
    };
    if specials.is_empty() {
        put(FILE, &published.files().tokenizer)?;
    } else {
        let bad = |error: serde_json::Error| TokenizerError::BadFile {
            path: path.clone(),
            what: error.to_string(),
        };
        write(path.clone(), &published.extended(specials).map_err(bad)?)?;
    }
    for (name, text) in published.files().kept() {
        if name == CONFIG && Special::CHAT.iter().all(|special| specials.contains(special)) {
            continue;
        }
        put(name, text)?;
    }
    if !Special::CHAT.iter().all(|special| specials.contains(special)) {
        return Ok(());
    }
    let bad = |error: serde_json::Error| TokenizerError::BadFile {
        path: folder.join(CONFIG),
        what: error.to_string(),
    };
    let config = published.files().config.as_deref().unwrap_or("{}");
    let mut config: Value = serde_json::from_str(config).map_err(bad)?;
    config["chat_template"] = CHAT_TEMPLATE.into();
    write(folder.join(CONFIG), &config)
}
