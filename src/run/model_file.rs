//! `model.safetensors` and `config.json`: GPT-2 models as Hugging Face `transformers` stores them, and others, which it
//! cannot load, as they are on the tape.
//!
//! Names are the same as on the tape. For GPT-2's form two things differ: GPT-2's linear layers there are `Conv1D`, whose
//! weights are (in, out) where ours are (out, in); and they always have biases, so a model without gets
//! zeros, which change nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tensor_file::{self, Entry, Give, TensorError, TensorFile};
use crate::engine::op::OpError;
use crate::engine::tensor::Shape;
use crate::files::{AtomicFile, FileError};
use crate::interop::families::{FAMILIES, Family, Heads, How};
use crate::models::config::{ModelConfig, SizeError};
use crate::text::tokenizer::Tokenizer;

mod config;
mod gpt2;
mod stored;

pub use crate::interop::container::MODEL;
use config::VERSION;
pub use config::{CONFIG, config_json, read_config};
pub use stored::{StoredModel, read_config_for};

/// Why a model cannot be loaded, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} describes no model that Lal can compute ({what}): it reads what `lal train` writes, and published models \
         of the families gpt2, {}", FAMILIES.map(|family| family.name).join(", ")
    )]
    NotAConfig { path: PathBuf, what: String },
    #[error("{path} was written by a newer Lal (layout {found}, this one reads up to {VERSION}): update Lal")]
    Newer { path: PathBuf, found: u32 },
    #[error("{path}: {source}")]
    Sizes { path: PathBuf, source: SizeError },
    #[error("{path} describes a model that does not fit together: {source}")]
    Plan { path: PathBuf, source: OpError },
    #[error(
        "{path} has {found} numbers, and the model of its {CONFIG} {expected}: give a folder whose {CONFIG} and {MODEL} \
         belong together"
    )]
    TooFew { path: PathBuf, expected: u64, found: u64 },
    #[error(
        "{path} is of a model with a {trained} tokenizer of fingerprint {expected}, and this {given} tokenizer \
         has {found}: use the tokenizer.json saved with it, and for training the same --data and --tokenizer"
    )]
    Tokenizer { path: PathBuf, trained: String, expected: String, given: String, found: String },
    #[error(
        "{path} has {config} tokens in its vocabulary, and the tokenizer.json there {tokenizer}: the model has no \
         rows for all of them; use the tokenizer.json that it was trained with"
    )]
    Vocabulary { path: PathBuf, config: usize, tokenizer: usize },
    #[error(
        "{path} has a tensor {name}, which the model that its config.json describes does not use: give the \
         config.json saved with it, or take the tensor out"
    )]
    Unused { path: PathBuf, name: String },
    #[error(
        "{path}: lm_head.weight is not the token embedding, as config.json says it is: set tie_word_embeddings to \
         false there"
    )]
    Untied { path: PathBuf },
    #[error(
        "{path}: {name} is not zero, and config.json says that there are no biases: set lal.bias to true there"
    )]
    Biased { path: PathBuf, name: String },
    #[error(
        "{path} is there in place of model.safetensors: load it with transformers, and save it with safetensors"
    )]
    OtherFile { path: PathBuf },
}

/// Identifies the tokenizer of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerMark {
    pub name: String,
    /// Of its tokens.
    pub fingerprint: String,
    /// Of its merges, where it has some of its own; runs of older versions did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merges: Option<String>,
}

impl TokenizerMark {
    pub fn of(tokenizer: &Tokenizer) -> Self {
        Self {
            name: tokenizer.name(),
            fingerprint: tokenizer.fingerprint(),
            merges: tokenizer.merges_fingerprint(),
        }
    }

    pub fn check(&self, given: &Self, path: &Path) -> Result<(), ModelError> {
        let same_merges = self.merges.is_none() || self.merges == given.merges;
        if self.name == given.name && self.fingerprint == given.fingerprint && same_merges {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            path: path.to_owned(),
            trained: self.name.clone(),
            expected: self.prints(),
            given: given.name.clone(),
            found: given.prints(),
        })
    }

    fn prints(&self) -> String {
        let merges = self.merges.iter().map(|merges| format!(" with merges {merges}"));
        format!("{}{}", self.fingerprint, merges.collect::<String>())
    }
}

/// How the file holds tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As `transformers` wants them of GPT-2.
    Gpt2,
    /// As it wants them of another family.
    Family(&'static Family, Heads),
    /// As on the tape.
    Plain,
}

impl Layout {
    /// The layout in which a model of this kind is written; [`stored`](Self::stored) is that of a folder.
    pub fn of(config: &ModelConfig) -> Self {
        if config.is_gpt2() {
            return Self::Gpt2;
        }
        match Family::of(config) {
            Some(family) => Self::Family(family, Heads::of(config)),
            None => Self::Plain,
        }
    }
}

/// Writes `model.safetensors`; the caller commits it.
pub fn write(
    folder: &Path,
    layout: Layout,
    parameters: &[Entry],
    mut read: impl FnMut(&Entry, Give) -> Result<(), TensorError>,
) -> Result<AtomicFile, TensorError> {
    let note = ("format", "pt");
    match layout {
        Layout::Plain => return tensor_file::write(&folder.join(MODEL), parameters, note, read),
        Layout::Family(family, heads) => {
            return write_family(&folder.join(MODEL), (family, heads), parameters, note, read);
        }
        Layout::Gpt2 => {}
    }
    let mut entries = Vec::new();
    for parameter in parameters {
        entries.push(in_file(parameter));
        entries.extend(absent_bias(parameter, parameters));
    }
    tensor_file::write(&folder.join(MODEL), &entries, note, |entry, give| {
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == entry.name) else {
            give(&vec![0.0; entry.shape.len()]);
            return Ok(());
        };
        if !is_matrix(parameter) {
            return read(parameter, give);
        }
        let mut elements = Vec::with_capacity(parameter.shape.len());
        read(parameter, &mut |part| elements.extend_from_slice(part))?;
        give(&transposed(&elements, parameter.shape));
        Ok(())
    })
}

/// Writes the tensors under the names of a family.
fn write_family(
    path: &Path,
    (family, heads): (&Family, Heads),
    parameters: &[Entry],
    note: (&str, &str),
    mut read: impl FnMut(&Entry, Give) -> Result<(), TensorError>,
) -> Result<AtomicFile, TensorError> {
    // In the order of the tape; two halves make one tensor.
    let mut tensors: Vec<FamilyTensor> = Vec::new();
    for parameter in parameters {
        let (how, entries) = family_entries(family, heads, parameter);
        for (part, entry) in entries.into_iter().enumerate() {
            let source = Source { parameter, how, part };
            match tensors.iter_mut().find(|known| known.entry.name == entry.name) {
                Some(known) => known.sources.push(source),
                None => tensors.push(FamilyTensor { entry, sources: vec![source] }),
            }
        }
    }
    for tensor in &mut tensors {
        tensor.sources.sort_by_key(|source| if let How::Half(half) = source.how { half } else { 0 });
    }
    let entries: Vec<_> = tensors.iter().map(|tensor| tensor.entry.clone()).collect();
    let sources: HashMap<_, _> =
        tensors.iter().map(|tensor| (tensor.entry.name.as_str(), &tensor.sources)).collect();
    tensor_file::write(path, &entries, note, |entry, give| {
        for &Source { parameter, how, part } in sources[entry.name.as_str()] {
            let mut elements = Vec::with_capacity(parameter.shape.len());
            read(parameter, &mut |part| elements.extend_from_slice(part))?;
            give(&how.split(heads, elements, part));
        }
        Ok(())
    })
}

/// A tensor of a family's file, and the parameters that it is made of, in order.
struct FamilyTensor<'a> {
    entry: Entry,
    sources: Vec<Source<'a>>,
}

/// Entry `part` of those that a parameter is stored in.
#[derive(Clone, Copy)]
struct Source<'a> {
    parameter: &'a Entry,
    how: How,
    part: usize,
}

/// How a family stores a parameter, and in which tensors. What is none of the model's is stored as it is.
fn family_entries(family: &Family, heads: Heads, parameter: &Entry) -> (How, Vec<Entry>) {
    match family.row(&parameter.name) {
        Some((row, layer)) => {
            let stored = row.stored(heads, parameter.shape, layer).into_iter();
            (row.how, stored.map(|(name, shape)| Entry { name, shape }).collect())
        }
        None => (How::Same, vec![parameter.clone()]),
    }
}

/// Reads a parameter as the tape has it.
pub fn read(file: &TensorFile, layout: Layout, parameter: &Entry) -> Result<Vec<f32>, TensorError> {
    match layout {
        Layout::Plain => return file.read(parameter),
        Layout::Family(family, heads) => {
            let (how, entries) = family_entries(family, heads, parameter);
            let parts = entries.iter().map(|entry| file.read(entry)).collect::<Result<_, _>>()?;
            return Ok(how.join(heads, parts));
        }
        Layout::Gpt2 => {}
    }
    let stored = in_file(parameter);
    let elements = file.read(&stored)?;
    Ok(if is_matrix(parameter) { transposed(&elements, stored.shape) } else { elements })
}

/// The matrix of a linear layer: `…attn.c_attn.weight`, `…mlp.c_proj.weight`.
fn is_matrix(parameter: &Entry) -> bool {
    let mut parts = parameter.name.rsplit('.');
    parts.next() == Some("weight") && parts.next().is_some_and(|layer| layer.starts_with("c_"))
}

fn in_file(parameter: &Entry) -> Entry {
    match parameter.shape.dims() {
        &[rows, columns] if is_matrix(parameter) => {
            Entry { name: parameter.name.clone(), shape: [columns, rows].into() }
        }
        _ => parameter.clone(),
    }
}

/// The bias that `transformers` expects with a weight, if the model has none.
fn absent_bias(parameter: &Entry, all: &[Entry]) -> Option<Entry> {
    let layer = parameter.name.strip_suffix(".weight")?;
    let has_none = [".wte", ".wpe"].iter().any(|table| layer.ends_with(table));
    let has_none = has_none || ["lm_head", "score"].contains(&layer);
    let name = format!("{layer}.bias");
    let wanted = !has_none && !all.iter().any(|other| other.name == name);
    wanted.then(|| Entry { name, shape: [parameter.shape.dims()[0]].into() })
}

/// The columns of a (rows, columns) matrix one after the other.
fn transposed(elements: &[f32], shape: Shape) -> Vec<f32> {
    let columns = shape.width();
    (0..columns).flat_map(|column| elements.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests;
