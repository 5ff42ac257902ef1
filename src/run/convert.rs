//! A model in the form of other programs: a folder that `transformers` loads, or a GGUF file that llama.cpp loads.
//!
//! Tensors are read, changed and written one by one. What is written is whole or not there.

mod gguf;
mod hf;

use std::path::{Path, PathBuf};

pub use gguf::gguf;
pub use hf::hf;

use super::model_file::{ModelError, StoredModel, tokenizer};
use super::tensor_file::Entry;
use crate::files::FileError;
use crate::interop::container::ContainerError;
use crate::interop::dtype::Dtype;
use crate::interop::peft::adapter::{Adapter, AdapterError};
use crate::models::config::{Architecture, ModelConfig};
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// A model that is converted.
pub struct Source {
    place: PathBuf,
    tokenizer: Tokenizer,
    model: StoredModel,
    adapter: Option<Adapter>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    pub tensors: usize,
    /// Of all files of tensors together.
    pub bytes: u64,
    /// What the other program does otherwise.
    pub remarks: Vec<String>,
}

/// Why a model is not converted, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("{0} is already there: choose another --out, or remove it")]
    Taken(PathBuf),
    #[error("{place} has no counterpart in {to}: {what}")]
    NoCounterpart { place: PathBuf, to: &'static str, what: String },
}

impl Source {
    /// Opens the model of a folder or a GGUF file; the adapter of another folder is merged into its weights.
    pub fn open(place: &Path, adapter: Option<&Path>) -> Result<Self, ConvertError> {
        let tokenizer = tokenizer(place)?;
        let (_, model) = StoredModel::open(place, &tokenizer)?;
        let open = |adapter| Adapter::open(adapter, model.config(), model.layout().modules());
        let adapter = adapter.map(open).transpose()?;
        Ok(Self { place: place.to_owned(), tokenizer, model, adapter })
    }

    /// The elements of a parameter as the tape has it.
    fn read(&self, parameter: &Entry) -> Result<Vec<f32>, ConvertError> {
        let mut elements = self.model.read(parameter)?;
        if let Some(adapter) = &self.adapter {
            adapter.add(&parameter.name, &mut elements)?;
        }
        Ok(elements)
    }

    fn parameters(&self) -> Result<Vec<Entry>, ConvertError> {
        let parameters = self.model.config().parameters();
        let parameters =
            parameters.map_err(|source| ModelError::Plan { path: self.place.clone(), source })?;
        Ok(parameters.into_iter().map(|(name, shape)| Entry { name, shape }).collect())
    }

    fn refused(&self, to: &'static str, what: impl Into<String>) -> ConvertError {
        ConvertError::NoCounterpart { place: self.place.clone(), to, what: what.into() }
    }

    /// What is asked for, else the format of its matrices where numbers can be written in it.
    fn dtype(&self, asked: Option<Dtype>) -> Dtype {
        asked.or(self.model.dtype().filter(|dtype| dtype.can_encode())).unwrap_or(Dtype::F32)
    }

    /// Refuses what has more than a language model's tensors.
    fn check(&self, to: &'static str) -> Result<(), ConvertError> {
        if self.model.has("score.weight") {
            return Err(self.refused(to, "it is a reward model, whose head is not a language model's"));
        }
        Ok(())
    }
}

/// What it is that only Lal computes.
fn own(config: &ModelConfig) -> String {
    match config.architecture {
        Architecture::Transformer if config.conv_kernel > 0 => "a convolution is Lal's own: train with --conv-kernel 0".into(),
        Architecture::Transformer if !config.causal => "it is an encoder of Lal's own form".into(),
        Architecture::Transformer => {
            "no published family has all of its settings: train with those of --preset llama-mini, or of gpt2 with \
             --position learned --norm layer"
                .into()
        }
        other => format!("the architecture {other} is no Transformer"),
    }
}
