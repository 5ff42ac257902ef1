//! `model.safetensors` and `config.json`: GPT-2 models as Hugging Face `transformers` stores them, and others, which it
//! cannot load, as they are on the tape.
//!
//! Names are the same as on the tape. For GPT-2's form two things differ: GPT-2's linear layers there are `Conv1D`,
//! whose weights are (in, out) where ours are (out, in); and they always have biases, so a model without gets zeros,
//! which change nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tensor_file::{self, Entry, Give, TensorError, TensorFile};
use crate::engine::op::OpError;
use crate::files::{AtomicFile, FileError};
use crate::interop::container::ContainerError;
use crate::interop::families::FAMILIES;
use crate::models::config::SizeError;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

mod config;
mod gguf;
mod gpt2;
mod layout;
mod stored;

pub use crate::interop::container::MODEL;
use config::VERSION;
pub use config::{CONFIG, config_json, config_value, read_config};
pub use gguf::{config_of, tokenizer};
pub use layout::{FileTensor, Layout};
pub use stored::{StoredModel, read_config_for};

/// Why a model cannot be loaded, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    NoTokenizer(#[from] TokenizerError),
    #[error("{0} is a file, and no .gguf one: give the folder that it is in")]
    NoFolder(PathBuf),
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

impl From<ContainerError> for ModelError {
    fn from(error: ContainerError) -> Self {
        Self::Tensors(error.into())
    }
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

/// Writes `model.safetensors`; the caller commits it.
pub fn write(
    folder: &Path,
    layout: Layout,
    parameters: &[Entry],
    mut read: impl FnMut(&Entry, Give) -> Result<(), TensorError>,
) -> Result<AtomicFile, TensorError> {
    let tensors = layout.tensors(parameters);
    let entries: Vec<_> = tensors.iter().map(|tensor| tensor.entry.clone()).collect();
    let named: HashMap<_, _> = tensors.iter().map(|tensor| (tensor.entry.name.as_str(), tensor)).collect();
    tensor_file::write(&folder.join(MODEL), &entries, ("format", "pt"), |entry, give| {
        named[entry.name.as_str()].give(&mut read, give)
    })
}

/// Reads a parameter as the tape has it.
pub fn read(file: &TensorFile, layout: Layout, parameter: &Entry) -> Result<Vec<f32>, TensorError> {
    let (_, entries) = layout.entries(parameter);
    let parts = entries.iter().map(|entry| file.read(entry)).collect::<Result<_, _>>()?;
    Ok(layout.join(parameter, parts))
}

#[cfg(test)]
mod tests;
