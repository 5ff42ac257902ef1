//! `lal data prepare --data`, `check` and `clean`: tokens made ahead, and what is in the cache.

use std::path::PathBuf;

use anyhow::bail;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::cli::failure::Usage;
use crate::cli::learned::{held_out, named, prepared};
use crate::cli::output::Output;
use crate::cli::places::DataPlaces;
use crate::run::model_file::tokenizer;
use crate::text::data::Data;
use crate::text::documents::Reading;
use crate::text::store::Item;
use crate::text::store::entry::{Entry, Hold};

/// What to make tokens of, and by which tokenizer.
#[derive(Debug, clap::Args)]
pub struct Prepare {
    /// Make the tokens of these files ahead, as train takes them
    #[arg(long, value_name = "NAME|PATH", conflicts_with = "folder")]
    data: Option<String>,
    /// What train is to validate on, if that is no part of --data
    #[arg(long, value_name = "NAME|PATH", requires = "data")]
    val_data: Option<String>,
    /// How text becomes tokens: char, byte, word, gpt2, or bpe:N
    #[arg(long, value_name = "NAME", requires = "data")]
    tokenizer: Option<String>,
    /// The model whose tokenizer to take, as train --init does
    #[arg(long, value_name = "DIR", requires = "data", conflicts_with = "tokenizer")]
    model: Option<PathBuf>,
    /// The key under which a line of JSON has its text
    #[arg(long, env = "LAL_TEXT_KEY", value_name = "KEY", default_value = "text")]
    text_key: String,
    /// What stands between two documents of a text file; '' where a file is one document
    #[arg(
        long,
        env = "LAL_DOCUMENT_SEPARATOR",
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    document_separator: String,
    /// Leave out lines that are no UTF-8, no JSON, or have no text
    #[arg(long)]
    skip_bad_lines: bool,
    #[command(flatten)]
    places: DataPlaces,
}

impl Prepare {
    pub fn run(&self, output: Output) -> anyhow::Result<()> {
        let Some(data) = &self.data else {
            bail!(Usage("give --data, or a folder for the Tales world".into()))
        };
        let reading = Reading {
            text_key: self.text_key.clone(),
            separator: self.document_separator.clone(),
            skip_bad_lines: self.skip_bad_lines,
        };
        let locate = |data: &str| match self.places.locate(Some(data), &reading, output)? {
            Data::Files(files) if files.are_tokens() => {
                bail!(Usage(format!("{data} holds tokens already: give it to train as it is")))
            }
            Data::Files(files) => Ok(files),
            Data::Text(_) => bail!(Usage(format!(
                "{data} is a short text, whose tokens are made at every start: give it to train as it is"
            ))),
        };
        let files = locate(data)?;
        let tokenizer = match (&self.tokenizer, &self.model) {
            (Some(name), _) => named(name, &files, &self.places, output)?,
            (None, Some(folder)) => tokenizer(folder)?,
            (None, None) => {
                bail!(Usage("give the tokenizer by --tokenizer, or the model that has it by --model".into()))
            }
        };
        let hold = if self.val_data.is_some() { Hold::Nothing } else { held_out(&files) };
        tell(&Item::Whole(Box::new(prepared(&files, &tokenizer, hold, &self.places, output)?)), output)?;
        if let Some(val) = &self.val_data {
            let entry = prepared(&locate(val)?, &tokenizer, Hold::Nothing, &self.places, output)?;
            tell(&Item::Whole(Box::new(entry)), output)?;
        }
        Ok(())
    }
}

/// A line for something in the cache.
pub fn tell(item: &Item, output: Output) -> anyhow::Result<()> {
    let (entry, path) = match item {
        Item::Whole(entry) => (entry, &entry.folder),
        Item::Partial(path) | Item::Damaged(path) => {
            let state = if matches!(item, Item::Partial(_)) { "unfinished" } else { "damaged" };
            if output.json {
                output.named(state, &json!({ "path": path }))?;
            } else {
                output.line(format!("{state}: {}", path.display()))?;
            }
            return Ok(());
        }
    };
    let Entry { description, .. } = &**entry;
    if output.json {
        output.named("prepared", &json!({ "key": entry.key(), "path": path, "entry": description }))?;
        return Ok(());
    }
    output.line(format!("{}: {}, {}", entry.key(), description.data, description.tokenizer))?;
    let [train, val] = [description.train, description.val];
    output.line(format!(
        "  {} training and {} validation tokens, {} documents, {:.2} bytes of text per token, {}",
        HumanCount(train.tokens),
        HumanCount(val.tokens),
        HumanCount(train.documents + val.documents),
        (train.bytes + val.bytes) as f64 / (train.tokens + val.tokens) as f64,
        HumanBytes(description.token_bytes()),
    ))?;
    Ok(())
}

/// Everything that is prepared.
pub fn list(places: &DataPlaces, output: Output) -> anyhow::Result<()> {
    places.store()?.items().iter().try_for_each(|item| tell(item, output))
}

/// Compares all prepared tokens with their hashes; says whether they are whole.
pub fn check(places: &DataPlaces, output: Output) -> anyhow::Result<bool> {
    let mut whole = true;
    for item in places.store()?.items() {
        let Item::Whole(entry) = &item else {
            whole &= matches!(item, Item::Partial(_));
            tell(&item, output)?;
            continue;
        };
        let damaged = entry.damaged();
        whole &= damaged.is_none();
        if output.json {
            output.named("checked", &json!({ "key": entry.key(), "damaged": damaged }))?;
        } else {
            output.line(match damaged {
                None => format!("{}: whole", entry.key()),
                Some(path) => {
                    let remove = format!("lal data clean {}", entry.key());
                    format!("{}: {} is damaged; remove it by {remove}", entry.key(), path.display())
                }
            })?;
        }
    }
    Ok(whole)
}

/// Removes what is named by its key, or all; without either what is unfinished or damaged.
pub fn clean(keys: &[String], all: bool, places: &DataPlaces, output: Output) -> anyhow::Result<()> {
    let (store, items) = (places.store()?, places.store()?.items());
    let key = |item: &Item| match item {
        Item::Whole(entry) => entry.key(),
        Item::Partial(path) | Item::Damaged(path) => {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    if let Some(missing) = keys.iter().find(|name| !items.iter().any(|item| key(item) == **name)) {
        bail!(Usage(format!("nothing is prepared under {missing:?}: see lal data list")));
    }
    for item in &items {
        let whole = matches!(item, Item::Whole(_));
        if !(all || keys.contains(&key(item)) || keys.is_empty() && !whole) {
            continue;
        }
        let what = if store.remove(item)? { "removed" } else { "in use" };
        if output.json {
            output.named(what, &json!({ "key": key(item) }))?;
        } else {
            output.line(format!("{what}: {}", key(item)))?;
        }
    }
    if all {
        store.forget()?;
    }
    Ok(())
}
