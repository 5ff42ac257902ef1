//! Writes tensors, one in memory at a time. Equal tensors make equal files.

mod gguf;
mod safetensors;

use std::path::Path;

pub use gguf::{gguf, gguf_dtype};
pub use safetensors::safetensors;

use super::container::{ContainerError, not_finite};
use super::dtype::Dtype;
use crate::files::AtomicFile;

/// Elements that are encoded at a time, a multiple of every block.
const PART: usize = 1 << 14;

/// A tensor to write.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTensor {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub dtype: Dtype,
}

impl NewTensor {
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |all: usize, &dim| all.saturating_mul(dim))
    }

    fn bytes(&self) -> u64 {
        self.dtype.bytes(self.elements())
    }

    fn check(&self, path: &Path, fits: Result<(), String>) -> Result<(), ContainerError> {
        let width = self.shape.last().copied().unwrap_or(1);
        let blocks = self.dtype.block();
        let fits = fits.and_then(|()| match width % blocks {
            0 => Ok(()),
            _ => Err(format!("its rows of {width} are no whole blocks of {} ({blocks})", self.dtype.name())),
        });
        fits.map_err(|what| ContainerError::NotWritten {
            path: path.to_owned(),
            name: self.name.clone(),
            what,
        })
    }
}

/// Takes a tensor part by part, in its order: as numbers, or as bytes that are encoded already. What is wrong with them
/// is said at the end.
pub struct Sink<'a> {
    tensor: &'a NewTensor,
    file: &'a mut AtomicFile,
    /// Elements taken as numbers, and bytes taken as they are.
    found: usize,
    raw: u64,
    /// The beginning of a block.
    rest: Vec<f32>,
    encoded: Vec<u8>,
    result: Result<(), ContainerError>,
}

impl<'a> Sink<'a> {
    fn new(tensor: &'a NewTensor, file: &'a mut AtomicFile) -> Self {
        Self { tensor, file, found: 0, raw: 0, rest: Vec::new(), encoded: Vec::new(), result: Ok(()) }
    }

    /// The next elements.
    pub fn elements(&mut self, part: &[f32]) {
        if self.result.is_ok() {
            self.result = self.take(part);
        }
        self.found += part.len();
    }

    /// The next elements as the format has them, to the bit.
    pub fn bytes(&mut self, part: &[u8]) {
        if self.result.is_ok() {
            self.result = self.file.write(part).map_err(Into::into);
        }
        self.raw += part.len() as u64;
    }

    fn take(&mut self, part: &[f32]) -> Result<(), ContainerError> {
        let (name, dtype) = (&self.tensor.name, self.tensor.dtype);
        if let Some(at) = not_finite(part) {
            let (name, value) = (name.clone(), part[at]);
            return Err(ContainerError::NotFinite { name, at: self.found + at, value });
        }
        if !dtype.can_encode() {
            return Err(ContainerError::Unencoded { name: name.clone(), dtype });
        }
        if dtype == Dtype::F32 {
            // Little-endian, as are all processors that Lal runs on.
            return Ok(self.file.write(bytemuck::cast_slice(part))?);
        }
        if self.rest.is_empty() {
            let (whole, rest) = part.split_at(part.len() - part.len() % dtype.block());
            self.rest.extend_from_slice(rest);
            return self.encode(whole);
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(part);
        self.rest = all.split_off(all.len() - all.len() % dtype.block());
        self.encode(&all)
    }

    /// Writes whole blocks.
    fn encode(&mut self, whole: &[f32]) -> Result<(), ContainerError> {
        let dtype = self.tensor.dtype;
        let mut decoded = vec![0.0; PART.min(whole.len())];
        for part in whole.chunks(PART) {
            self.encoded.clear();
            dtype.encode(part, &mut self.encoded);
            let decoded = &mut decoded[..part.len()];
            dtype.decode(&self.encoded, decoded);
            if not_finite(decoded).is_some() {
                return Err(ContainerError::TooLarge { name: self.tensor.name.clone(), dtype });
            }
            self.file.write(&self.encoded)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), ContainerError> {
        self.result?;
        let dtype = self.tensor.dtype;
        let raw = self.raw / dtype.block_bytes() as u64 * dtype.block() as u64;
        let found = self.found.saturating_add(usize::try_from(raw).unwrap_or(usize::MAX));
        if found == self.tensor.elements() && self.raw.is_multiple_of(dtype.block_bytes() as u64) {
            return Ok(());
        }
        Err(ContainerError::Length {
            name: self.tensor.name.clone(),
            shape: self.tensor.shape.clone(),
            found,
        })
    }
}

/// Takes the elements of one tensor from `give`.
fn fill<E: From<ContainerError>>(
    tensor: &NewTensor,
    file: &mut AtomicFile,
    give: impl FnOnce(&mut Sink) -> Result<(), E>,
) -> Result<(), E> {
    let mut sink = Sink::new(tensor, file);
    give(&mut sink)?;
    Ok(sink.finish()?)
}

#[cfg(test)]
mod tests;
