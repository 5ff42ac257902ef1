//! `model.safetensors` and `config.json`: a GPT as Hugging Face `transformers` keeps GPT-2, other models as they
//! stand on the tape.
//!
//! Names are the same as on the tape. For a GPT two things differ: GPT-2's linear layers there are `Conv1D`, whose
//! weights are (in, out) where ours are (out, in); and they always have biases, so a model without gets
//! zeros, which change nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aside::{Aside, FileError};
use super::tensor_file::{self, Entry, Give, TensorError, TensorFile};
use crate::engine::tensor::Shape;
use crate::models::config::{ModelConfig, SizeError};
use crate::nn::mlp::FeedForward;
use crate::text::file;
use crate::text::tokenizer::Tokenizer;

pub const MODEL: &str = "model.safetensors";
pub const CONFIG: &str = "config.json";

/// The layout of run folders; raised when an older Lal could not read a newer one.
const VERSION: u32 = 1;

/// Why a model cannot be loaded, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} describes no GPT ({what}): give the folder of a run that `lal train` wrote")]
    NotAConfig { path: PathBuf, what: String },
    #[error("{path} was written by a newer Lal (layout {found}, this one reads up to {VERSION}): update Lal")]
    Newer { path: PathBuf, found: u32 },
    #[error("{path}: {source}")]
    Sizes { path: PathBuf, source: SizeError },
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
}

/// What `transformers` has no word for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    version: u32,
    bias: bool,
    tokenizer: TokenizerMark,
}

/// How a checkpoint knows its tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerMark {
    pub name: String,
    pub fingerprint: String,
}

impl TokenizerMark {
    pub fn of(tokenizer: &Tokenizer) -> Self {
        Self { name: tokenizer.name().to_owned(), fingerprint: tokenizer.fingerprint() }
    }

    /// # Errors
    /// When `given` is not the tokenizer that `path` was trained with.
    pub fn check(&self, given: &Self, path: &Path) -> Result<(), ModelError> {
        if self == given {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            path: path.to_owned(),
            trained: self.name.clone(),
            expected: self.fingerprint.clone(),
            given: given.name.clone(),
            found: given.fingerprint.clone(),
        })
    }
}

/// How tensors stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As `transformers` wants them.
    Gpt2,
    /// As on the tape.
    Plain,
}

impl Layout {
    /// The layout of a model of this kind.
    pub fn of(config: &ModelConfig) -> Self {
        if config.is_gpt2() { Self::Gpt2 } else { Self::Plain }
    }
}

/// The text of `config.json`.
pub fn config_json(config: &ModelConfig, tokenizer: &TokenizerMark) -> String {
    let own = Own { version: VERSION, bias: config.bias, tokenizer: tokenizer.clone() };
    let json = match Layout::of(config) {
        Layout::Gpt2 => gpt2_json(config, &own),
        Layout::Plain => json!({ "model_type": "lal", "model": config, "lal": own }),
    };
    format!("{json:#}\n")
}

fn gpt2_json(config: &ModelConfig, own: &Own) -> Value {
    let end = (own.tokenizer.name == "gpt2").then_some(config.vocab_size - 1);
    let tanh = config.feed_forward == FeedForward::GeluTanh;
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "activation_function": if tanh { "gelu_new" } else { "gelu" },
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "tie_word_embeddings": true,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": "float32",
        "lal": own,
    })
}

/// Reads `config.json`. One without Lal's own part (GPT-2 as published) has biases and no known tokenizer.
///
/// # Errors
/// When it is missing, neither a GPT-2 nor one of Lal's own models, or of a newer Lal.
pub fn read_config(folder: &Path) -> Result<(ModelConfig, Option<TokenizerMark>), ModelError> {
    let path = folder.join(CONFIG);
    let bytes = file::read(&path, file::SETTINGS_BYTES).map_err(FileError::at("read", &path))?;
    let bad = |what: String| ModelError::NotAConfig { path: path.clone(), what };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let own: Option<Own> = match json.get("lal") {
        Some(own) => match own["version"].as_u64().and_then(|version| u32::try_from(version).ok()) {
            Some(found) if found > VERSION => return Err(ModelError::Newer { path, found }),
            _ => Some(Own::deserialize(own).map_err(|error| bad(format!("lal: {error}")))?),
        },
        None => None,
    };
    let config = match json["model_type"].as_str() {
        Some("gpt2") => gpt2_config(&json, own.as_ref().is_none_or(|own| own.bias)),
        Some("lal") => ModelConfig::deserialize(&json["model"]).map_err(|error| format!("model: {error}")),
        _ => Err(format!("model_type is {}", json["model_type"])),
    };
    let config = config.map_err(bad)?;
    config.check().map_err(|source| ModelError::Sizes { path, source })?;
    Ok((config, own.map(|own| own.tokenizer)))
}

fn gpt2_config(json: &Value, bias: bool) -> Result<ModelConfig, String> {
    let size = |key: &str| {
        json[key].as_u64().map(|size| size as usize).ok_or_else(|| format!("{key} is {}", json[key]))
    };
    let feed_forward = match json["activation_function"].as_str() {
        Some("gelu") => FeedForward::Gelu,
        Some("gelu_new") | None => FeedForward::GeluTanh,
        Some(other) => return Err(format!("activation_function is {other:?}")),
    };
    let [vocab_size, n_positions] = [size("vocab_size")?, size("n_positions")?];
    let sizes = ModelConfig::gpt(vocab_size, n_positions, size("n_layer")?, size("n_head")?, size("n_embd")?);
    Ok(ModelConfig { bias, dropout: json["resid_pdrop"].as_f64().unwrap_or(0.0), feed_forward, ..sizes })
}

/// Writes `model.safetensors` aside; the caller commits it.
///
/// # Errors
/// When `read` fails or the disk does.
pub fn write(
    folder: &Path,
    layout: Layout,
    parameters: &[Entry],
    mut read: impl FnMut(&Entry, Give) -> Result<(), TensorError>,
) -> Result<Aside, TensorError> {
    let note = ("format", "pt");
    if layout == Layout::Plain {
        return tensor_file::write(&folder.join(MODEL), parameters, note, read);
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

/// Whether the file has a parameter as the tape wants it, told from its header.
///
/// # Errors
/// When it does not have it, or not in this shape.
pub fn check(file: &TensorFile, layout: Layout, parameter: &Entry) -> Result<(), TensorError> {
    match layout {
        Layout::Plain => file.check(parameter),
        Layout::Gpt2 => file.check(&in_file(parameter)),
    }
}

/// Reads a parameter as the tape has it.
///
/// # Errors
/// When the file does not have it, or not in this shape.
pub fn read(file: &mut TensorFile, layout: Layout, parameter: &Entry) -> Result<Vec<f32>, TensorError> {
    if layout == Layout::Plain {
        return file.read(parameter);
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

/// The bias that `transformers` expects beside a weight, if the model has none.
fn absent_bias(parameter: &Entry, all: &[Entry]) -> Option<Entry> {
    let layer = parameter.name.strip_suffix(".weight")?;
    let has_none = layer.ends_with(".wte") || layer.ends_with(".wpe") || layer == "score";
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
