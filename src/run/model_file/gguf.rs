//! A model in a GGUF file: what it is, and its tokenizer.

use std::path::Path;

use super::ModelError;
use super::gpt2::gpt2_config;
use super::layout::Layout;
use crate::interop::container::{Container, Format};
use crate::interop::families::gguf::{Described, ROPE_FREQS, read};
use crate::interop::families::{Family, Heads};
use crate::interop::gguf_tokenizer;
use crate::models::config::ModelConfig;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// More factors than a head can have channels.
const MOST_FACTORS: usize = 1 << 16;

fn open(path: &Path) -> Result<Container, ModelError> {
    let container = Container::open(path)?;
    if container.format() == Format::Gguf {
        Ok(container)
    } else {
        Err(ModelError::NoFolder(path.to_owned()))
    }
}

/// What a GGUF file says of its model.
pub(super) fn read_config(path: &Path) -> Result<(ModelConfig, Layout), ModelError> {
    let container = open(path)?;
    let shapes = |name: &str| container.find(name).map(|tensor| tensor.shape.clone());
    let factors = container.find(ROPE_FREQS).filter(|tensor| tensor.elements() < MOST_FACTORS);
    let factors = factors.map(|tensor| container.elements(tensor)).transpose()?;
    let described = read(container.metadata(), &shapes, factors.as_deref())?;
    let bad = |what: String| ModelError::NotAConfig { path: path.to_owned(), what };
    let config = config_of(&described).map_err(bad)?;
    config.check().map_err(|source| ModelError::Sizes { path: path.to_owned(), source })?;
    let layout = Layout::Gguf(described.gguf, Heads::of(&config));
    Ok((config, layout))
}

/// The model that a file describes.
pub fn config_of(described: &Described) -> Result<ModelConfig, String> {
    let json = &described.json;
    match json["model_type"].as_str().and_then(Family::named) {
        Some(family) => family.read(json),
        None => gpt2_config(json, true),
    }
}

/// The tokenizer of a model in a folder or a GGUF file.
///
/// # Errors
/// As [`Tokenizer::load`], and when the keys of the file describe none that Lal knows; the error names the key.
pub fn tokenizer(place: &Path) -> Result<Tokenizer, ModelError> {
    if !place.is_file() {
        return Ok(Tokenizer::load(place)?);
    }
    let keys = gguf_tokenizer::read(open(place)?.metadata())?;
    let bad = |what| TokenizerError::BadFile { path: place.to_owned(), what };
    Ok(keys.build().map_err(bad)?)
}
