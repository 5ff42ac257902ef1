//! A tensor in a file.

use std::fs::File;
use std::path::Path;

use super::dtype::Dtype;
use super::error::ContainerError;
use crate::files::{FileError, open};

/// Where a tensor is and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    /// Outermost dimension first, as in PyTorch; none of a scalar.
    pub shape: Vec<usize>,
    /// What the file calls the type of its elements.
    pub type_name: String,
    /// `None` where Lal cannot read them.
    pub dtype: Option<Dtype>,
    /// How long it is in the file.
    pub bytes: u64,
    /// Which of the files.
    pub(super) file: usize,
    /// Its first byte there.
    pub(super) start: u64,
}

impl Tensor {
    /// The width of a row: the last dimension.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// How many rows of [`width`](Self::width) elements there are.
    pub fn rows(&self) -> usize {
        let outer = self.shape.split_last().map_or(&[][..], |(_, outer)| outer);
        outer.iter().fold(1, |rows: usize, &dim| rows.saturating_mul(dim))
    }

    pub fn elements(&self) -> usize {
        self.rows().saturating_mul(self.width())
    }
}

/// A regular file, and its length.
pub(super) fn opened(path: &Path) -> Result<(File, u64), ContainerError> {
    let attempt = || {
        let file = open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    Ok(attempt().map_err(FileError::at("read", path))?)
}
