//! A model in several safetensors files, and the index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{Container, ContainerError, Format, safetensors};
use crate::files::{FileError, read};

/// What `transformers` calls the index.
pub const INDEX: &str = "model.safetensors.index.json";

/// The most bytes of an index: a million tensors' worth.
const MOST: u64 = 1 << 27;

#[derive(Deserialize)]
struct Index {
    weight_map: Pairs,
}

/// The keys and values of an object, those that come twice too.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors and the files that they are in")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Names)
    }
}

/// The files that an index lists, each in the folder of the index.
pub fn shards(path: &Path) -> Result<BTreeSet<String>, ContainerError> {
    Ok(listed(path)?.into_iter().map(|(_, shard)| shard).collect())
}

/// The tensors that an index lists, each with its file, as they stand there.
fn listed(path: &Path) -> Result<Vec<(String, String)>, ContainerError> {
    let wrong = |what: String| ContainerError::Shards { path: path.to_owned(), what };
    let bytes = read(path, MOST).map_err(FileError::at("read", path))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match index.weight_map.0.iter().find(|(_, shard)| !is_plain(shard)) {
        Some((name, shard)) => {
            Err(wrong(format!("{name} would be in {shard:?}, which is no file of this folder")))
        }
        None => Ok(index.weight_map.0),
    }
}

/// Opens an index and all files that it names, which have the tensors that it lists and no other.
pub(super) fn open(path: &Path) -> Result<Container, ContainerError> {
    let wrong = |what: String| ContainerError::Shards { path: path.to_owned(), what };
    let pairs = listed(path)?;
    let mut listed = HashMap::new();
    let mut shards = BTreeMap::new();
    for (name, shard) in &pairs {
        if listed.insert(name.as_str(), shard.as_str()).is_some() {
            return Err(wrong(format!("it lists {name} twice")));
        }
        *shards.entry(shard.as_str()).or_insert(0_usize) += 1;
    }
    let (mut files, mut tensors, mut metadata) = (Vec::new(), Vec::new(), None);
    for (shard, count) in shards {
        let part = path.with_file_name(shard);
        let (file, found, notes) = safetensors::open(&part, files.len())?;
        for tensor in &found {
            let name = &tensor.name;
            match listed.remove(name.as_str()) {
                Some(in_file) if in_file == shard => {}
                Some(other) => return Err(wrong(format!("{name} is in {shard}, and should be in {other}"))),
                None => {
                    return Err(wrong(format!("{shard} has a tensor {name}, which it does not list there")));
                }
            }
        }
        if found.len() < count {
            let missing = listed.iter().filter(|(_, file)| **file == shard).map(|(name, _)| *name).min();
            return Err(wrong(format!("{shard} has no tensor {}", missing.unwrap_or_default())));
        }
        files.push((part, file));
        tensors.extend(found);
        metadata.get_or_insert(notes);
    }
    let Some(metadata) = metadata else { return Err(wrong("it lists no tensor".into())) };
    Ok(Container::new(path, Format::Safetensors, files, tensors, metadata))
}

/// Whether a name is that of a file in the same folder, on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_one =
        matches!(parts.next(), Some(Component::Normal(part)) if part == name) && parts.next().is_none();
    is_one && name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0'])
}
