//! The files of a tokenizer in a folder.

use std::path::PathBuf;

use serde_json::Value;

use super::TokenizerError;
use crate::files::write_whole;

pub(super) const FILE: &str = "tokenizer.json";
/// Longer files are refused: those of the largest vocabularies have some tens of MiB.
pub(super) const MOST_BYTES: u64 = 1 << 28;
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";
/// What a tokenizer is kept in.
pub const FILES: [&str; 2] = [FILE, CONFIG_FILE];

/// [`chat`](crate::text::chat)'s template for `transformers`, which looks for special tokens in the text that it makes.
pub(super) const CHAT_TEMPLATE: &str = include_str!("chat_template.jinja");

/// Writes a file whole or not at all.
pub(super) fn write(path: PathBuf, json: &Value) -> Result<(), TokenizerError> {
    write_whole(&path, format!("{json:#}\n").as_bytes())
        .map_err(|error| TokenizerError::Io { path, source: error.source })
}
