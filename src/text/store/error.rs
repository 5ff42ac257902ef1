//! What can go wrong with prepared tokens.

use std::io;
use std::path::PathBuf;

use crate::files::FileError;
use crate::text::documents::DocumentsError;
use crate::text::tokenizer::TokenizerError;

/// Why there are no prepared tokens, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Learned(#[from] TokenizerError),
    #[error("{name}: {source}")]
    Tokenizer { name: String, source: TokenizerError },
    #[error(
        "cannot write tokens to {path}: {source}; what is prepared so far is kept: free some space, or choose another \
         folder by --cache-dir, and give the same command again"
    )]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot lock {path}: {source}; choose a folder on another disk by --cache-dir")]
    Lock { path: PathBuf, source: io::Error },
}
