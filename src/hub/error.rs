//! Why a model of the hub cannot be had.

use std::path::PathBuf;

use super::name::ModelName;

/// Why a model of the hub cannot be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error(
        "{name} is not in the cache {cache}, and HF_HUB_OFFLINE forbids to download it; {}",
        cached(models)
    )]
    Offline { name: Box<ModelName>, cache: PathBuf, models: Vec<ModelName> },
    #[error("cannot reach {endpoint} ({reason}), and {name} is not in the cache {cache}; {}", cached(models))]
    Unreachable {
        name: Box<ModelName>,
        endpoint: String,
        reason: String,
        cache: PathBuf,
        models: Vec<ModelName>,
    },
    #[error("{endpoint} has no model {name}: check its name and its revision")]
    Unknown { name: Box<ModelName>, endpoint: String },
    #[error(
        "{endpoint} does not give {name} to everyone: check its name, accept its terms on its page, and set HF_TOKEN to a \
         token of yours"
    )]
    Denied { name: Box<ModelName>, endpoint: String },
    #[error("what {url} says is not understood: {what}")]
    NotUnderstood { url: String, what: String },
    #[error(
        "{name} has no file that Lal reads a model from ({found}): it needs model.safetensors, or a .gguf file"
    )]
    NoWeights { name: Box<ModelName>, found: String },
    #[error("{name} has several .gguf files: choose one with --file, of {}", files.join(", "))]
    Several { name: Box<ModelName>, files: Vec<String> },
    #[error("{name} has no file {file}: it has {}", files.join(", "))]
    NoFile { name: Box<ModelName>, file: String, files: Vec<String> },
    #[error("cannot download {file} of {name} ({reason}): {} are kept, run the same again to go on", bytes(*have))]
    Broken { name: Box<ModelName>, file: String, reason: String, have: u64 },
    #[error(
        "what was downloaded is not {file} of {name}: it has {found}, and {expected} is expected; it was removed: run the \
         same again"
    )]
    Wrong { name: Box<ModelName>, file: String, expected: String, found: String },
    #[error("{path} is being downloaded by another program: wait for it, and run the same again")]
    Locked { path: PathBuf },
    #[error("cannot {doing} {path}: {source}; what was downloaded before is kept")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
}

impl HubError {
    /// For `map_err`: what was tried, on which path.
    pub(super) fn at(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}

fn cached(models: &[ModelName]) -> String {
    if models.is_empty() {
        return "the cache holds no model".into();
    }
    let names: Vec<_> = models.iter().map(ToString::to_string).collect();
    format!("the cache holds {}", names.join(", "))
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}
