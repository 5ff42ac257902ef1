//! What is wrong with settings.

use std::path::PathBuf;

use crate::models::config::SizeError;

/// Invalid settings, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no preset {name:?}: choose one of {known}")]
    UnknownPreset { name: String, known: String },
    #[error("cannot read the settings {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no settings of a run: {source}")]
    BadFile { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{setting} = {value} is outside its range: {range}")]
    Range { setting: &'static str, value: String, range: String },
    #[error(transparent)]
    Size(#[from] SizeError),
}
