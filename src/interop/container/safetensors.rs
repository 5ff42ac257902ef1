//! Safetensors: the length of a header (eight bytes, little-endian), the header (JSON: each tensor's type, shape and
//! offsets), and the elements (<https://github.com/huggingface/safetensors>).

use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype as Stored, Metadata as Header};

use crate::files::{FileError, read_at};
use crate::interop::dtype::Dtype;
use crate::interop::error::ContainerError;
use crate::interop::gguf::metadata::Metadata;
use crate::interop::gguf::value::Value;
use crate::interop::tensor::{Tensor, opened};

/// Longer headers are none: the limit of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// Opens the file that is number `file` of a container, and reads its header.
pub(super) fn open(path: &Path, file: usize) -> Result<(File, Vec<Tensor>, Metadata), ContainerError> {
    let not_one = |what: String| ContainerError::NotSafetensors { path: path.to_owned(), what };
    let truncated = |expected, found| ContainerError::Truncated { path: path.to_owned(), expected, found };
    let (opened, found) = opened(path)?;
    let read = |at, into: &mut [u8]| read_at(&opened, at, into).map_err(FileError::at("read", path));
    if found < 8 {
        return Err(truncated(8, found));
    }
    let mut length = [0; 8];
    read(0, &mut length)?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER {
        return Err(not_one(format!("its header would be {header_bytes} bytes long")));
    }
    let start = 8 + header_bytes;
    if found < start {
        return Err(truncated(start, found));
    }
    let mut json = vec![0; header_bytes as usize];
    read(8, &mut json)?;
    let header: Header =
        serde_json::from_slice(&json).map_err(|error| not_one(format!("its header: {error}")))?;
    let expected = start + header.data_len() as u64;
    if found < expected {
        return Err(truncated(expected, found));
    }
    if found > expected {
        return Err(not_one(format!("{} bytes follow its last tensor", found - expected)));
    }
    let tensors = header.offset_keys().into_iter().filter_map(|name| {
        let info = header.info(&name)?;
        let (begin, end) = info.data_offsets;
        Some(Tensor {
            shape: info.shape.clone(),
            type_name: info.dtype.to_string(),
            dtype: read_as(info.dtype),
            bytes: (end - begin) as u64,
            file,
            start: start + begin as u64,
            name,
        })
    });
    let tensors = tensors.collect();
    let mut notes: Vec<_> = header.metadata().iter().flatten().collect();
    notes.sort();
    let mut metadata = Metadata::of(path);
    notes.into_iter().for_each(|(key, text)| metadata.push(key, Value::from(text.as_str())));
    Ok((opened, tensors, metadata))
}

fn read_as(stored: Stored) -> Option<Dtype> {
    match stored {
        Stored::F32 => Some(Dtype::F32),
        Stored::F16 => Some(Dtype::F16),
        Stored::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}
