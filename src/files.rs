//! Files, read and written with care.
//!
//! Written files are whole or not there ([`AtomicFile`]), nothing is written through a link, and all files have the
//! mode that the process' mask gives them. [`read`] takes regular files alone, and up to a length.

mod atomic_file;
mod read;

use std::io;
use std::path::{Path, PathBuf};

pub use atomic_file::{AtomicFile, is_own, open_own, remove, write_output, write_shared, write_whole};
pub use read::{BYTE_ORDER_MARK, SETTINGS_BYTES, open, open_within, read, read_any, read_at, read_to_string};

/// A file operation that failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}{}", advice(source))]
pub struct FileError {
    /// `write`, `read`, `create`: what was tried.
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: what was tried, on which path.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }
}

/// A hash in hexadecimal, in lower case.
pub fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; what was saved before is intact: free some space and continue with --resume"
        }
        PermissionDenied | ReadOnlyFilesystem => {
            "; what is there is unchanged: choose a folder you may write to with --out"
        }
        NotFound => "; check the path",
        _ => "",
    }
}
