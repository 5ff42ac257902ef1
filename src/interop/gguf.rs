//! GGUF, version 3 and the like version 2: what a file says of its model, where its tensors are, and their elements
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

mod header;
pub mod metadata;
mod types;
pub mod value;

use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use header::Header;
pub(super) use types::{MAX_DIMS, id};

use super::error::ContainerError;
use super::tensor::{Tensor, opened};
use crate::files::{FileError, read_at};
use metadata::Metadata;
use value::Value;

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
pub(super) const VERSION: u32 = 3;
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u32 = 32;
const MAX_ALIGNMENT: u32 = 1 << 16;
/// The most bytes of a tensor's name in ggml.
pub(super) const MAX_NAME: usize = 63;

/// The fewest bytes of a key with its value, and of a tensor's entry.
const LEAST_KEY: u64 = 8 + 4 + 1;
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// Whether a file begins as GGUF does.
pub(super) fn is_one(path: &Path) -> Result<bool, ContainerError> {
    let (file, _) = opened(path)?;
    let mut magic = [0; 4];
    match read_at(&file, 0, &mut magic) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(FileError::at("read", path)(error).into())
        }
        _ => Ok(magic == MAGIC),
    }
}

/// Opens a file and reads all but its elements.
pub(super) fn open(path: &Path) -> Result<(File, Vec<Tensor>, Metadata), ContainerError> {
    let not_one = |what: String| ContainerError::NotGguf { path: path.to_owned(), what };
    let (file, length) = opened(path)?;
    let mut header = Header::new(path, &file, length);
    if header.bytes("magic")? != MAGIC {
        return Err(not_one("it does not begin with GGUF".into()));
    }
    match u32::from_le_bytes(header.bytes("version")?) {
        2 | VERSION => {}
        version if version.swap_bytes() <= VERSION => return Err(not_one("it is big-endian".into())),
        version => return Err(not_one(format!("it is of version {version}, and Lal reads 2 and 3"))),
    }
    let tensor_count = header.count("tensors", LEAST_TENSOR)?;
    let key_count = header.count("keys", LEAST_KEY)?;

    let mut metadata = Metadata::of(path);
    let mut known = HashSet::new();
    for _ in 0..key_count {
        let key = header.text("a key")?;
        let value = Value::read(&mut header, &key)?;
        if !known.insert(key.clone()) {
            return Err(not_one(format!("it has the key {key} twice")));
        }
        metadata.push(&key, value);
    }
    let alignment = alignment(&metadata)?;

    known.clear();
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let tensor = header.tensor()?;
        if !known.insert(tensor.name.clone()) {
            return Err(not_one(format!("it has the tensor {} twice", tensor.name)));
        }
        if tensor.start % alignment != 0 {
            let what = format!("{} begins at {}, no multiple of {alignment}", tensor.name, tensor.start);
            return Err(not_one(what));
        }
        tensors.push(tensor);
    }
    let start = header.position().next_multiple_of(alignment);
    place(path, &mut tensors, start, length)?;
    Ok((file, tensors, metadata))
}

/// What the first byte of every tensor is a multiple of.
pub(super) fn alignment(metadata: &Metadata) -> Result<u64, ContainerError> {
    let alignment = metadata.find(ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
    match alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
        true => Ok(alignment.into()),
        false => Err(metadata
            .wrong(ALIGNMENT, format!("is {alignment}, and should be a power of two up to {MAX_ALIGNMENT}"))),
    }
}

/// Puts tensors where the elements begin, if the file of this length has room for each of them by itself.
fn place(path: &Path, tensors: &mut [Tensor], start: u64, length: u64) -> Result<(), ContainerError> {
    let mut spans = Vec::new();
    for tensor in tensors {
        let end = start.checked_add(tensor.start).and_then(|begin| begin.checked_add(tensor.bytes));
        let end = end.unwrap_or(u64::MAX);
        if end > length {
            return Err(ContainerError::Truncated { path: path.to_owned(), expected: end, found: length });
        }
        tensor.start += start;
        if tensor.bytes > 0 {
            spans.push((tensor.start, end, &tensor.name));
        }
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => {
            let what = format!("{} and {} share bytes", pair[0].2, pair[1].2);
            Err(ContainerError::NotGguf { path: path.to_owned(), what })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
