//! What `--data` names as a tokenizer and as tokens: those of a short text are made on the spot, those of files once.

use super::bars::Bar;
use super::failure::Usage;
use super::output::Output;
use super::places::DataPlaces;
use crate::run::config::TrainConfig;
use crate::text::collection::Collection;
use crate::text::data::Data;
use crate::text::dataset::{Dataset, DatasetError, HeldOut};
use crate::text::store::entry::{Entry, Hold};
use crate::text::store::{Progress, SAMPLE};
use crate::text::token_files;
use crate::text::tokenizer::Tokenizer;
use crate::text::tokens::Tokens;

/// The tokenizer of a new run over its data.
pub fn tokenizer(
    config: &TrainConfig,
    data: &Data,
    places: &DataPlaces,
    output: Output,
) -> anyhow::Result<Tokenizer> {
    let files = match data {
        Data::Text(corpus) => return Ok(config.tokenizer(&corpus.text)?),
        Data::Files(files) => files,
    };
    let tokenizer = named(&config.tokenizer, files, places, output)?;
    Ok(config.masked(tokenizer))
}

/// The tokenizer of this name over files, with a token between documents if there are several.
pub fn named(
    name: &str,
    files: &Collection,
    places: &DataPlaces,
    output: Output,
) -> anyhow::Result<Tokenizer> {
    if !Tokenizer::learns(name) {
        let fixed = Tokenizer::from_name(name, "")?;
        return Ok(if files.is_one_text() { fixed } else { fixed.with_end_of_document() });
    }
    if files.are_tokens() {
        let what = format!(
            "{} holds tokens, and no text for --tokenizer {name}: name the tokenizer that they were made with, such as \
             gpt2",
            files.name
        );
        return Err(Usage(what).into());
    }
    let store = places.store()?;
    let mut share = 1.0;
    if Tokenizer::learns_merges(name) {
        share = files.share(SAMPLE, Some(&store.facts()))?;
    }
    let learned = store.tokenizer(files, name, || {
        if share < 1.0 {
            let percent = 100.0 * share;
            output.remark(format!("{name} learns from {percent:.1}% of the text, parts of all of it"));
        }
        let mut bar = output.bar("{spinner} learning {msg}");
        bar.say(name.to_owned());
        let learned = Tokenizer::learn(name, files.texts(share).map(|text| text.map_err(Into::into)));
        bar.clear();
        learned
    })?;
    Ok(if files.is_one_text() { learned } else { learned.with_end_of_document() })
}

/// The tokens to learn from and to validate on.
pub fn dataset(
    data: &Data,
    val: Option<&Data>,
    tokenizer: &Tokenizer,
    places: &DataPlaces,
    output: Output,
) -> anyhow::Result<Dataset> {
    if let Some(val) = val {
        let (train, _) = whole(data, tokenizer, places, output)?;
        let (val, val_bytes) = whole(val, tokenizer, places, output)?;
        return Ok(Dataset { name: data.name().to_owned(), train, val, val_bytes, held_out: HeldOut::Own });
    }
    match data {
        Data::Text(corpus) => Ok(Dataset::new(&corpus.name, &corpus.text, tokenizer)?),
        Data::Files(files) if files.are_tokens() => Ok(token_files::dataset(files, tokenizer)?),
        Data::Files(files) => {
            Ok(prepared(files, tokenizer, held_out(files), places, output)?.dataset(&files.name)?)
        }
    }
}

/// What is held out of files where nothing else is to validate on.
pub fn held_out(files: &Collection) -> Hold {
    if files.is_one_text() { Hold::LastTenth } else { Hold::Documents }
}

/// All tokens, and the bytes of their text.
fn whole(
    data: &Data,
    tokenizer: &Tokenizer,
    places: &DataPlaces,
    output: Output,
) -> anyhow::Result<(Tokens, usize)> {
    match data {
        Data::Text(corpus) => {
            let named = |source| DatasetError::Tokenizer { name: corpus.name.clone(), source };
            Ok((tokenizer.encode(&corpus.text).map_err(named)?.into(), corpus.text.len()))
        }
        Data::Files(files) if files.are_tokens() => Ok(token_files::whole(files, tokenizer)?),
        Data::Files(files) => Ok(prepared(files, tokenizer, Hold::Nothing, places, output)?.whole()?),
    }
}

/// The tokens of files, prepared now if they are not yet.
pub fn prepared(
    files: &Collection,
    tokenizer: &Tokenizer,
    hold: Hold,
    places: &DataPlaces,
    output: Output,
) -> anyhow::Result<Entry> {
    let mut bar: Option<Bar> = None;
    let entry = places.store()?.open(files, tokenizer, hold, &mut |progress| match progress {
        Progress::Waits => output.remark("another process prepares the same tokens: waiting for it"),
        Progress::At { done, total } => {
            let drawn =
                || output.bar("tokens {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
            bar.get_or_insert_with(drawn).at(done, total);
        }
    })?;
    drop(bar);
    if entry.description.skipped_lines > 0 {
        output.remark(format!("{} bad lines were left out", entry.description.skipped_lines));
    }
    output.detail(format!("tokens in {}", entry.folder.display()));
    Ok(entry)
}
