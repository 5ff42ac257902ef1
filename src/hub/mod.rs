//! Models of the Hugging Face Hub: found in its cache on this machine, or downloaded into it.
//!
//! The cache is laid out as the hub's own library has it
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), so that what either downloads serves both:
//!
//! ```text
//! models--org--name/
//!     refs/main                       the commit that the revision `main` is
//!     blobs/<hash>                    the files, by SHA-256, or by git's SHA-1 where they are small
//!     snapshots/<commit>/config.json  links to them, by name
//! ```

mod cache;
mod download;
mod error;
mod files;
mod name;
mod partial;
mod pull;
mod repository;

use std::path::PathBuf;
use std::time::Duration;

pub use error::HubError;
pub use name::{ModelName, NameError};
pub use pull::Progress;

/// Where models come from, and where they are kept; the library itself reads no environment.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The address of the hub, without a path: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The folder that holds a folder per model: `HF_HUB_CACHE`.
    pub cache: PathBuf,
    /// Sent to the hub alone: `HF_TOKEN`.
    pub token: Option<String>,
    /// Whether to use the cache alone: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How long the hub may say nothing: `HF_HUB_DOWNLOAD_TIMEOUT`.
    pub timeout: Duration,
}
