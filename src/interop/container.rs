//! Tensors by name, whatever file they are in: safetensors, alone or in shards, or GGUF.
//!
//! Files are read at positions, into buffers of a bounded size, and not mapped into memory: a mapped file that another
//! program shortens ends the process, and mapped pages would count as its memory. What a file says of itself is checked
//! before anything is allocated for it.

mod safetensors;
mod shards;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use shards::{INDEX, shards};

use super::dtype::Dtype;
pub use super::error::{ContainerError, shown};
use super::gguf;
use super::gguf::metadata::Metadata;
pub use super::tensor::Tensor;
use crate::files::{FileError, read_at};

/// The file of a model that has one.
pub const MODEL: &str = "model.safetensors";

/// Elements that are given at a time, a multiple of every block.
const PART: usize = 1 << 16;

/// The container formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Gguf,
}

/// An open file of tensors, or several of one model, whose headers are read and whose lengths are right.
#[derive(Debug)]
pub struct Container {
    path: PathBuf,
    format: Format,
    files: Vec<(PathBuf, File)>,
    tensors: Vec<Tensor>,
    places: HashMap<String, usize>,
    metadata: Metadata,
}

impl Container {
    /// Opens a `.safetensors` or `.gguf` file, the `.index.json` of several, or the folder of a model: its
    /// `model.safetensors`, else those that `model.safetensors.index.json` lists.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        if path.is_dir() {
            let [whole, index] = [MODEL, INDEX].map(|name| path.join(name));
            return if !whole.exists() && index.exists() {
                shards::open(&index)
            } else {
                Self::safetensors(&whole)
            };
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match () {
            () if name.ends_with(".gguf") => Self::gguf(path),
            () if name.ends_with(".index.json") => shards::open(path),
            () if !name.ends_with(".safetensors") && gguf::is_one(path)? => Self::gguf(path),
            () => Self::safetensors(path),
        }
    }

    /// Opens one safetensors file.
    pub fn safetensors(path: &Path) -> Result<Self, ContainerError> {
        let (file, tensors, metadata) = safetensors::open(path, 0)?;
        Ok(Self::new(path, Format::Safetensors, vec![(path.to_owned(), file)], tensors, metadata))
    }

    fn gguf(path: &Path) -> Result<Self, ContainerError> {
        let (file, tensors, metadata) = gguf::open(path)?;
        Ok(Self::new(path, Format::Gguf, vec![(path.to_owned(), file)], tensors, metadata))
    }

    /// Of tensors whose names differ.
    pub(super) fn new(
        path: &Path,
        format: Format,
        files: Vec<(PathBuf, File)>,
        tensors: Vec<Tensor>,
        metadata: Metadata,
    ) -> Self {
        let places = tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.clone(), place)).collect();
        Self { path: path.to_owned(), format, files, tensors, places, metadata }
    }

    /// The file it was opened by: the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// What a GGUF file says of its model, and a safetensors file of itself (texts alone).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of this name, if it is there.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|&place| &self.tensors[place])
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// When it is not there.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, ContainerError> {
        let missing = || ContainerError::Missing { path: self.path.clone(), name: name.to_owned() };
        self.find(name).ok_or_else(missing)
    }

    /// All elements of a tensor, row after row.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub fn elements(&self, tensor: &Tensor) -> Result<Vec<f32>, ContainerError> {
        let mut elements = vec![0.0; tensor.elements()];
        self.read_into(tensor, 0, &mut elements)?;
        Ok(elements)
    }

    /// Gives rows of a tensor in parts, in their order. A part is whole rows, or a piece of one that is long.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub fn read(
        &self,
        tensor: &Tensor,
        rows: Range<usize>,
        mut give: impl FnMut(&[f32]),
    ) -> Result<(), ContainerError> {
        let width = tensor.width();
        let (first, end) = (rows.start * width, rows.end * width);
        let most = if (1..=PART).contains(&width) { PART / width * width } else { PART };
        let mut part = vec![0.0; most.min(end - first)];
        for at in (first..end).step_by(most) {
            let part = &mut part[..most.min(end - at)];
            self.read_into(tensor, at, part)?;
            give(part);
        }
        Ok(())
    }

    /// Fills `into` with the elements of a tensor from the element `first` on, where a block begins and so does every
    /// row.
    ///
    /// # Errors
    /// When its type is not one that Lal reads, the file cannot be read, or an element is NaN or infinite.
    ///
    /// # Panics
    /// When the tensor ends before.
    pub fn read_into(&self, tensor: &Tensor, first: usize, into: &mut [f32]) -> Result<(), ContainerError> {
        let dtype = self.check_type(tensor)?;
        assert!(
            first + into.len() <= tensor.elements(),
            "{} has {} elements",
            tensor.name,
            tensor.elements()
        );
        let mut buffer = Vec::new();
        for (number, part) in into.chunks_mut(PART).enumerate() {
            let first = first + number * PART;
            let offset = dtype.bytes(first);
            if dtype == Dtype::F32 {
                // Little-endian, as are all processors that Lal runs on.
                self.fill(tensor, offset, bytemuck::cast_slice_mut(part))?;
            } else {
                buffer.resize(dtype.bytes(part.len()) as usize, 0);
                self.fill(tensor, offset, &mut buffer)?;
                dtype.decode(&buffer, part);
            }
            if let Some(at) = not_finite(part) {
                let (name, value) = (tensor.name.clone(), part[at]);
                let (path, index) =
                    (self.files[tensor.file].0.clone(), coordinates(&tensor.shape, first + at));
                return Err(ContainerError::NoNumber { path, name, value, index });
            }
        }
        Ok(())
    }

    /// The type of a tensor's elements.
    ///
    /// # Errors
    /// When it is not one that Lal reads.
    pub fn check_type(&self, tensor: &Tensor) -> Result<Dtype, ContainerError> {
        tensor.dtype.ok_or_else(|| ContainerError::Type {
            path: self.files[tensor.file].0.clone(),
            name: tensor.name.clone(),
            found: tensor.type_name.clone(),
        })
    }

    /// Passes the raw bytes of a tensor to `give`, part by part.
    pub fn read_bytes(&self, tensor: &Tensor, mut give: impl FnMut(&[u8])) -> Result<(), ContainerError> {
        let most = PART.min(usize::try_from(tensor.bytes).unwrap_or(PART));
        let mut part = vec![0; most];
        for at in (0..tensor.bytes).step_by(most.max(1)) {
            let part = &mut part[..most.min(usize::try_from(tensor.bytes - at).unwrap_or(most))];
            self.fill(tensor, at, part)?;
            give(part);
        }
        Ok(())
    }

    fn fill(&self, tensor: &Tensor, offset: u64, part: &mut [u8]) -> Result<(), ContainerError> {
        let (path, file) = &self.files[tensor.file];
        Ok(read_at(file, tensor.start + offset, part).map_err(FileError::at("read", path))?)
    }
}

/// The first element that is NaN or infinite.
pub(super) fn not_finite(part: &[f32]) -> Option<usize> {
    // Without an early end, it is done many at a time.
    let finite = part.iter().fold(true, |all, x| all & x.is_finite());
    if finite { None } else { part.iter().position(|x| !x.is_finite()) }
}

/// Where element `at` of a tensor stands, as in `3, 17`.
fn coordinates(shape: &[usize], mut at: usize) -> String {
    let mut index: Vec<_> = Vec::new();
    for dim in shape.iter().rev() {
        index.push((at % dim).to_string());
        at /= dim;
    }
    index.reverse();
    index.join(", ")
}

#[cfg(test)]
mod tests;
