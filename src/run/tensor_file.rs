//! The safetensors files of runs: tensors as the tape has them.

use std::path::{Path, PathBuf};

use crate::engine::device::DeviceError;
use crate::engine::tensor::Shape;
use crate::files::{AtomicFile, FileError};
use crate::interop::container::{Container, ContainerError, Tensor, shown};
use crate::interop::dtype::Dtype;
use crate::interop::writer::{self, NewTensor};

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
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("{path} is no checkpoint of this run ({what}): resume with the settings it was trained with")]
    NotACheckpoint { path: PathBuf, what: String },
    #[error(
        "{path}: {name} is {found} there, and {expected} in this model; use the sizes it was trained with"
    )]
    Shape { path: PathBuf, name: String, expected: Shape, found: String },
    #[error("cannot read {name} back from the device: {source}")]
    Device { name: String, source: DeviceError },
}

/// Takes the elements of a tensor, part by part in their order.
pub type Give<'a> = &'a mut dyn FnMut(&[f32]);

/// Writes `entries`, in their order, asking `read` for the elements of one after the other. `note` is a
/// key and value for the file's metadata.
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
    let tensor = |entry: &Entry| {
        let shape = entry.shape.dims().to_vec();
        NewTensor { name: entry.name.clone(), shape, dtype: Dtype::F32 }
    };
    let tensors: Vec<_> = entries.iter().map(tensor).collect();
    writer::safetensors(path, &tensors, note, |place, sink| {
        read(&entries[place], &mut |part| sink.elements(part))
    })
}

/// A safetensors file whose header has been read and whose length is right.
#[derive(Debug)]
pub struct TensorFile(Container);

impl TensorFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        Ok(Self(Container::safetensors(path)?))
    }

    /// Opens the tensors of a model's folder: one file, or all that an index lists.
    pub fn open_model(folder: &Path) -> Result<Self, TensorError> {
        Ok(Self(Container::open(folder)?))
    }

    /// All that the file has.
    pub fn container(&self) -> &Container {
        &self.0
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The value of a key in the file's metadata.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.0.metadata().find(key).ok().flatten()
    }

    /// The names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.0.tensors().iter().map(|tensor| tensor.name.clone()).collect()
    }

    /// Elements of all tensors together.
    pub fn elements(&self) -> u64 {
        self.0.tensors().iter().map(|tensor| tensor.elements() as u64).fold(0, u64::saturating_add)
    }

    /// Whether a tensor is there as `entry` describes it, in a type that can be read.
    pub fn check(&self, entry: &Entry) -> Result<(), TensorError> {
        self.0.check_type(self.find(entry)?)?;
        Ok(())
    }

    /// The elements of a tensor, row after row: numbers all of them.
    ///
    /// # Errors
    /// As [`check`](Self::check), and when it cannot be read, or an element is NaN or infinite.
    pub fn read(&self, entry: &Entry) -> Result<Vec<f32>, TensorError> {
        Ok(self.0.elements(self.find(entry)?)?)
    }

    fn find(&self, entry: &Entry) -> Result<&Tensor, TensorError> {
        let tensor = self.0.tensor(&entry.name)?;
        if tensor.shape != entry.shape.dims() {
            let (path, name) = (self.path().to_owned(), entry.name.clone());
            let found = shown(&tensor.shape);
            return Err(TensorError::Shape { path, name, expected: entry.shape, found });
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests;
