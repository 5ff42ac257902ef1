//! Documents of any number of files, read in bounded memory.
//!
//! [`inputs`] finds the files that `--data` names, `unpack` reads them whether or not they are compressed, [`parts`]
//! cuts what they hold into parts of some megabytes, and [`rows`] finds the documents in a part.
//!
//! | file | a document is |
//! |---|---|
//! | text | the file, or what is between two separators (`--document-separator`) |
//! | `.jsonl`, `.ndjson` | the text under one key of a line (`--text-key`) |
//! | `.gz`, `.zst` of these | the same |

pub mod inputs;
pub mod parts;
pub mod rows;
mod unpack;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How documents are found in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The key of a line of JSON under which its text is.
    pub text_key: String,
    /// What stands between two documents of a text file; nothing where each file is one.
    pub separator: String,
    /// Leave out lines that are no UTF-8, no JSON, or have no text.
    pub skip_bad_lines: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { text_key: "text".into(), separator: String::new(), skip_bad_lines: false }
    }
}

/// Files that no documents can be read from, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    #[error("there is no file {0}: check the path given to --data")]
    Missing(PathBuf),
    #[error("no file is called {0:?}: check the pattern given to --data")]
    NoMatch(String),
    #[error("{pattern:?} is no pattern of file names: {what}")]
    Pattern { pattern: String, what: String },
    #[error(
        "{folder} holds no texts: files of a folder are read if they end in {endings}, or in .gz or .zst after that"
    )]
    NoTexts { folder: PathBuf, endings: String },
    #[error("{0} is named twice by --data")]
    Twice(PathBuf),
    #[error("--data names both texts ({text}) and files of tokens ({tokens}): give either")]
    Mixed { text: PathBuf, tokens: PathBuf },
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot read {path} beyond byte {at} of its content: {what}")]
    Damaged { path: PathBuf, at: u64, what: String },
    #[error(
        "{path}:{line}: not UTF-8 at byte {at} of the file's content; save it as UTF-8, or give --skip-bad-lines"
    )]
    NotUtf8 { path: PathBuf, line: u64, at: u64 },
    #[error("{path}:{line} (byte {at}): {what}; correct it, or give --skip-bad-lines")]
    BadLine { path: PathBuf, line: u64, at: u64, what: String },
    #[error(
        "{path}:{line} (byte {at}): this {what} is longer than {most} MiB, the most that is read at once"
    )]
    TooLong { path: PathBuf, line: u64, at: u64, what: &'static str, most: u64 },
    #[error("{0} has no text: give one to learn from")]
    Empty(String),
    #[error("{0} changed while it was read: wait until it is written, and try again")]
    Changed(PathBuf),
}
