//! The files of a model: their names, and what the hub says of them.

use std::path::{Component, Path};

use super::name::is_plain;

/// A file of a repository, as the hub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub name: String,
    pub size: Option<u64>,
    /// SHA-256 of a large file, git's SHA-1 of a small one, in hexadecimal.
    pub hash: Option<String>,
}

impl Remote {
    /// Whether its hash can be the name of a file.
    pub fn has_plain_hash(&self) -> bool {
        self.hash.as_deref().is_none_or(is_plain)
    }
}

/// Whether a name stays inside the folder that it is joined to.
pub fn is_inside(file: &str) -> bool {
    let plain = |part: Component| matches!(part, Component::Normal(_));
    !file.is_empty() && !file.contains(['\\', ':', '\0']) && Path::new(file).components().all(plain)
}
