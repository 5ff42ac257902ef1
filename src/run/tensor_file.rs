//! Safetensors files, one tensor in memory at a time.
//!
//! A file is the length of a header (eight bytes, little-endian), the header (JSON: each tensor's type,
//! shape and offset), and the elements (<https://github.com/huggingface/safetensors>).

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::engine::device::DeviceError;
use crate::engine::tensor::Shape;
use crate::files::{AtomicFile, FileError, open};

/// Longer headers are none: the limit of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor by name. All are f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub shape: Shape,
}

/// Why tensors cannot be saved or read, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} is cut short: it should have {expected} bytes and has {found}; copy it again, or go back to \
         another checkpoint"
    )]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    #[error("{path} is no safetensors file ({what}): give the folder of a run, or copy the file again")]
    NotSafetensors { path: PathBuf, what: String },
    #[error("{path} is no checkpoint of this run ({what}): resume with the settings it was trained with")]
    NotACheckpoint { path: PathBuf, what: String },
    #[error(
        "{path} has no tensor {name}: it is of another model; use the config.json or config.toml saved with it"
    )]
    Missing { path: PathBuf, name: String },
    #[error(
        "{path}: {name} is {found} there, and {expected} in this model; use the sizes it was trained with"
    )]
    Shape { path: PathBuf, name: String, expected: Shape, found: String },
    #[error("{path}: {name} has elements of type {found}, and only F32 can be read")]
    Type { path: PathBuf, name: String, found: String },
    #[error(
        "{path}: {name} is {value} at [{index}]: a training that diverged or a damaged file; go back to another \
         checkpoint, or copy the file again"
    )]
    NoNumber { path: PathBuf, name: String, value: f32, index: String },
    #[error("cannot read {name} back from the device: {source}")]
    Device { name: String, source: DeviceError },
    #[error("element {at} of {name} is {value}, and a model that is not finite is not saved")]
    NotFinite { name: String, at: usize, value: f32 },
    #[error("{name} has {found} elements where its shape {shape} has {}", shape.len())]
    Length { name: String, shape: Shape, found: usize },
}

/// Takes the elements of a tensor, part by part in their order.
pub type Give<'a> = &'a mut dyn FnMut(&[f32]);

/// Writes `entries`, in their order, asking `read` for the elements of one after the other. `note` is a
/// key and value for the file's metadata; just one, so that equal tensors make equal files (the library
/// keeps several in no fixed order).
///
/// The file is [finished](AtomicFile::finish); the caller commits it.
///
/// # Errors
/// When `read` fails or gives another number of elements or one that is not finite, or the disk fails.
pub fn write(
    path: &Path,
    entries: &[Entry],
    note: (&str, &str),
    mut read: impl FnMut(&Entry, Give) -> Result<(), TensorError>,
) -> Result<AtomicFile, TensorError> {
    let mut file = AtomicFile::new(path)?;
    let header = header(path, entries, note)?;
    file.write(&(header.len() as u64).to_le_bytes())?;
    file.write(&header)?;
    for entry in entries {
        let (mut found, mut written) = (0, Ok(()));
        read(entry, &mut |part| {
            if written.is_ok() {
                // Little-endian, as are all processors that Lal runs on.
                written = check_finite(entry, found, part)
                    .and_then(|()| Ok(file.write(bytemuck::cast_slice(part))?));
            }
            found += part.len();
        })?;
        written?;
        if found != entry.shape.len() {
            return Err(TensorError::Length { name: entry.name.clone(), shape: entry.shape, found });
        }
    }
    file.finish()?;
    Ok(file)
}

/// Checks the elements of a tensor from `first` on.
fn check_finite(entry: &Entry, first: usize, part: &[f32]) -> Result<(), TensorError> {
    match part.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(TensorError::NotFinite { name: entry.name.clone(), at: first + at, value: part[at] }),
    }
}

fn header(path: &Path, entries: &[Entry], (key, value): (&str, &str)) -> Result<Vec<u8>, TensorError> {
    let mut start = 0;
    let infos = entries.iter().map(|entry| {
        let end = start + 4 * entry.shape.len();
        let (dtype, shape) = (Dtype::F32, entry.shape.dims().to_vec());
        let info = TensorInfo { dtype, shape, data_offsets: (start, end) };
        start = end;
        (entry.name.clone(), info)
    });
    let note = HashMap::from([(key.to_owned(), value.to_owned())]);
    let not_one = |what: String| TensorError::NotSafetensors { path: path.to_owned(), what };
    let metadata = Metadata::new(Some(note), infos.collect()).map_err(|error| not_one(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| not_one(error.to_string()))?;
    // The elements begin at a multiple of eight.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// A safetensors file whose header has been read and whose length is right.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the elements begin.
    start: u64,
}

impl TensorFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let read_error = |source| FileError { doing: "read", path: path.to_owned(), source };
        let not_one = |what: String| TensorError::NotSafetensors { path: path.to_owned(), what };
        let truncated = |expected, found| TensorError::Truncated { path: path.to_owned(), expected, found };
        let mut file = open(path).map_err(read_error)?;
        let found = file.metadata().map_err(read_error)?.len();
        if found < 8 {
            return Err(truncated(8, found));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(read_error)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER {
            return Err(not_one(format!("its header would be {header_bytes} bytes long")));
        }
        let start = 8 + header_bytes;
        if found < start {
            return Err(truncated(start, found));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(read_error)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| not_one(format!("its header: {error}")))?;
        let expected = start + metadata.data_len() as u64;
        match found {
            _ if found < expected => Err(truncated(expected, found)),
            _ if found > expected => {
                Err(not_one(format!("{} bytes follow its last tensor", found - expected)))
            }
            _ => Ok(Self { path: path.to_owned(), file, metadata, start }),
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key in the file's metadata.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Elements of all tensors together.
    pub fn elements(&self) -> u64 {
        let infos = self.metadata.tensors();
        let len =
            |info: &&TensorInfo| info.shape.iter().fold(1, |len: u64, &side| len.saturating_mul(side as u64));
        infos.values().map(len).fold(0, u64::saturating_add)
    }

    /// Whether a tensor is there as `entry` describes it.
    pub fn check(&self, entry: &Entry) -> Result<(), TensorError> {
        self.offset(entry).map(drop)
    }

    /// The elements of a tensor, row after row: numbers all of them.
    ///
    /// # Errors
    /// As [`check`](Self::check), and when it cannot be read, or an element is NaN or infinite.
    pub fn read(&mut self, entry: &Entry) -> Result<Vec<f32>, TensorError> {
        let offset = self.offset(entry)?;
        let mut elements = vec![0.0_f32; entry.shape.len()];
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(bytemuck::cast_slice_mut(&mut elements)))
            .map_err(FileError::at("read", &self.path))?;
        let Some(at) = elements.iter().position(|x| !x.is_finite()) else { return Ok(elements) };
        Err(TensorError::NoNumber {
            path: self.path.clone(),
            name: entry.name.clone(),
            value: elements[at],
            index: coordinates(entry.shape, at),
        })
    }

    /// The first byte of a tensor.
    fn offset(&self, entry: &Entry) -> Result<u64, TensorError> {
        let (path, name) = (self.path.clone(), entry.name.clone());
        let Some(info) = self.metadata.info(&name) else {
            return Err(TensorError::Missing { path, name });
        };
        if info.dtype != Dtype::F32 {
            return Err(TensorError::Type { path, name, found: info.dtype.to_string() });
        }
        if info.shape != entry.shape.dims() {
            let dims: Vec<_> = info.shape.iter().map(usize::to_string).collect();
            let found = format!("({})", dims.join(", "));
            return Err(TensorError::Shape { path, name, expected: entry.shape, found });
        }
        Ok(self.start + info.data_offsets.0 as u64)
    }
}

/// Where element `at` of a tensor stands, as in `3, 17`.
fn coordinates(shape: Shape, mut at: usize) -> String {
    let mut index: Vec<_> = Vec::new();
    for dim in shape.dims().iter().rev() {
        index.push((at % dim).to_string());
        at /= dim;
    }
    index.reverse();
    index.join(", ")
}

#[cfg(test)]
mod tests;
