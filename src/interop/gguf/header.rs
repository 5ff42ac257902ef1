//! The header, read from the first byte on. No more is allocated than the rest of the file could fill.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::types::{self, MAX_DIMS};
use crate::files::FileError;
use crate::interop::dtype::Dtype;
use crate::interop::error::ContainerError;
use crate::interop::tensor::Tensor;

pub(super) struct Header<'a> {
    path: &'a Path,
    file: BufReader<&'a File>,
    length: u64,
    /// Bytes that are not read yet.
    left: u64,
}

impl<'a> Header<'a> {
    pub fn new(path: &'a Path, file: &'a File, length: u64) -> Self {
        Self { path, file: BufReader::with_capacity(1 << 16, file), length, left: length }
    }

    /// Bytes that are read.
    pub fn position(&self) -> u64 {
        self.length - self.left
    }

    pub fn wrong(&self, what: String) -> ContainerError {
        ContainerError::NotGguf { path: self.path.to_owned(), what }
    }

    /// Takes so many bytes of the rest; `what` they are is said where there are fewer.
    fn take(&mut self, what: &str, bytes: u64) -> Result<(), ContainerError> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                let what = format!("{what} would have {bytes} bytes where {} are left", self.left);
                return Err(self.wrong(what));
            }
        }
        Ok(())
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), ContainerError> {
        Ok(self.file.read_exact(into).map_err(FileError::at("read", self.path))?)
    }

    pub fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ContainerError> {
        let mut bytes = [0; N];
        self.take(what, N as u64)?;
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// How many things follow, each of `least` bytes or more.
    pub fn count(&mut self, what: &str, least: u64) -> Result<usize, ContainerError> {
        let count = u64::from_le_bytes(self.bytes(what)?);
        if count > self.left / least {
            let what = format!("{what}: there would be {count}, more than {} bytes hold", self.left);
            return Err(self.wrong(what));
        }
        Ok(count as usize)
    }

    /// A length, and as many bytes of UTF-8.
    pub fn text(&mut self, what: &str) -> Result<String, ContainerError> {
        let length = self.count(what, 1)?;
        let mut bytes = vec![0; length];
        self.take(what, length as u64)?;
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|error| self.wrong(format!("{what} is no UTF-8: {error}")))
    }

    /// A length, and as many numbers.
    pub fn array<T, const N: usize>(
        &mut self,
        key: &str,
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ContainerError> {
        let length = self.count(key, N as u64)?;
        self.take(key, (length * N) as u64)?;
        let mut numbers = Vec::with_capacity(length);
        let mut buffer = [0; 1 << 12];
        while numbers.len() < length {
            let part = &mut buffer[..((length - numbers.len()) * N).min(1 << 12)];
            self.fill(part)?;
            numbers.extend(part.as_chunks().0.iter().map(|bytes| from(*bytes)));
        }
        Ok(numbers)
    }

    /// A tensor's entry; it starts at bytes counted from the first element.
    pub fn tensor(&mut self) -> Result<Tensor, ContainerError> {
        let name = self.text("the name of a tensor")?;
        let rank = u32::from_le_bytes(self.bytes(&name)?) as usize;
        if rank > MAX_DIMS {
            return Err(self.wrong(format!("{name} has {rank} dimensions, more than {MAX_DIMS}")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let dim = u64::from_le_bytes(self.bytes(&name)?);
            shape.push(usize::try_from(dim).map_err(|_| self.wrong(format!("{name} has a side of {dim}")))?);
        }
        shape.reverse();
        let id = u32::from_le_bytes(self.bytes(&name)?);
        let start = u64::from_le_bytes(self.bytes(&name)?);
        let (type_name, block, block_bytes) = types::layout(id)
            .ok_or_else(|| self.wrong(format!("{name} has elements of the unknown type {id}")))?;
        let width = shape.last().copied().unwrap_or(1);
        if width % block != 0 {
            let what = format!("{name} has rows of {width}, and {type_name} has blocks of {block}");
            return Err(self.wrong(what));
        }
        let elements = shape.iter().try_fold(1_usize, |all, &dim| all.checked_mul(dim));
        let bytes = elements.and_then(|elements| (elements / block).checked_mul(block_bytes));
        let bytes =
            bytes.ok_or_else(|| self.wrong(format!("{name} has more elements than can be counted")))?;
        let (type_name, dtype) = (type_name.to_owned(), Dtype::from_name(type_name));
        Ok(Tensor { name, shape, type_name, dtype, bytes: bytes as u64, file: 0, start })
    }
}
