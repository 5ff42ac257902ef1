//! The files of a model: their names, and what the hub says of them.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde_json::Value;

use super::error::HubError;
use super::name::is_plain;
use crate::files::{SETTINGS_BYTES, read};

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

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

/// The files that an index lists.
pub fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let bytes = read(index, SETTINGS_BYTES).map_err(HubError::at("read", index))?;
    let bad = |what: String| HubError::NotUnderstood { url: index.display().to_string(), what };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| bad("it has no weight_map".into()))?;
    let name = |file: &Value| file.as_str().filter(|name| is_inside(name)).map(str::to_owned);
    let names: Option<BTreeSet<_>> = map.values().map(name).collect();
    names.ok_or_else(|| bad("weight_map has something that is no file's name".into()))
}
