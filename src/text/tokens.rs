//! Token ids in a row: in memory, or in files that are read a window at a time.
//!
//! Files are read at positions and not mapped: mapped pages would count as memory of the process, and a mapped file
//! that another program shortens ends it.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{open, read_at};

/// Tokens that are known without reading a file: what a sample starts from.
pub const FIRST: usize = 8;

/// Bytes of a token in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    U16,
    U32,
}

impl Width {
    /// The narrowest that holds all ids of a vocabulary.
    pub fn of_vocabulary(size: usize) -> Self {
        if size <= 1 << 16 { Self::U16 } else { Self::U32 }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// Appends `ids` to `bytes`, the lowest byte first.
    pub fn write(self, ids: &[u32], bytes: &mut Vec<u8>) {
        match self {
            Self::U16 => ids.iter().for_each(|&id| bytes.extend_from_slice(&(id as u16).to_le_bytes())),
            Self::U32 => ids.iter().for_each(|&id| bytes.extend_from_slice(&id.to_le_bytes())),
        }
    }

    fn read(self, bytes: &[u8], ids: &mut Vec<u32>) {
        match self {
            Self::U16 => ids.extend(bytes.as_chunks().0.iter().map(|&b| u32::from(u16::from_le_bytes(b)))),
            Self::U32 => ids.extend(bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b))),
        }
    }
}

/// A file that tokens cannot be read from.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("cannot read the tokens in {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "token {at} of {path} is {id}, and the tokenizer has {vocabulary} tokens: name the one that the file was made \
         with by --tokenizer or --init, or prepare the tokens anew"
    )]
    Unknown { path: PathBuf, at: usize, id: u32, vocabulary: usize },
}

/// Consecutive tokens of a file.
#[derive(Debug)]
pub struct Stretch {
    path: PathBuf,
    file: File,
    /// The byte at which the first is.
    begin: u64,
    pub len: usize,
    width: Width,
}

impl Stretch {
    /// `len` tokens from a byte of a file on.
    pub fn open(path: &Path, begin: u64, len: usize, width: Width) -> Result<Self, TokensError> {
        let file = open(path).map_err(|source| TokensError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, begin, len, width })
    }

    fn read(&self, at: usize, len: usize, vocabulary: usize, ids: &mut Vec<u32>) -> Result<(), TokensError> {
        let mut bytes = vec![0; len * self.width.bytes()];
        read_at(&self.file, self.begin + (at * self.width.bytes()) as u64, &mut bytes)
            .map_err(|source| TokensError::Unreadable { path: self.path.clone(), source })?;
        let before = ids.len();
        self.width.read(&bytes, ids);
        match ids[before..].iter().position(|&id| id as usize >= vocabulary) {
            None => Ok(()),
            Some(wrong) => {
                let (path, id) = (self.path.clone(), ids[before + wrong]);
                Err(TokensError::Unknown { path, at: at + wrong, id, vocabulary })
            }
        }
    }
}

/// Tokens of one or more files, one after the other.
#[derive(Clone, Debug)]
pub struct Stored {
    stretches: Arc<Vec<Stretch>>,
    /// The place of each stretch's first token; then the number of all.
    starts: Arc<Vec<usize>>,
    vocabulary: usize,
    first: Vec<u32>,
}

impl Stored {
    /// Tokens below `vocabulary`, which is checked where they are read.
    pub fn new(stretches: Vec<Stretch>, vocabulary: usize) -> Result<Self, TokensError> {
        let mut starts = vec![0];
        for stretch in &stretches {
            starts.push(starts[starts.len() - 1] + stretch.len);
        }
        let mut stored =
            Self { stretches: Arc::new(stretches), starts: Arc::new(starts), vocabulary, first: Vec::new() };
        stored.first = stored.read(0, stored.len().min(FIRST))?;
        Ok(stored)
    }

    fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn read(&self, at: usize, len: usize) -> Result<Vec<u32>, TokensError> {
        let mut ids = Vec::with_capacity(len);
        let mut stretch = self.starts.partition_point(|&start| start <= at).saturating_sub(1);
        while ids.len() < len {
            let from = at + ids.len() - self.starts[stretch];
            let part = &self.stretches[stretch];
            part.read(from, (part.len - from).min(len - ids.len()), self.vocabulary, &mut ids)?;
            stretch += 1;
        }
        Ok(ids)
    }
}

/// Token ids in a row.
#[derive(Clone, Debug)]
pub enum Tokens {
    Memory(Vec<u32>),
    Stored(Stored),
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Self {
        Self::Memory(ids)
    }
}

impl Tokens {
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(ids) => ids.len(),
            Self::Stored(stored) => stored.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` tokens from place `at` on.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn read(&self, at: usize, len: usize) -> Result<Cow<'_, [u32]>, TokensError> {
        match self {
            Self::Memory(ids) => Ok(Cow::Borrowed(&ids[at..at + len])),
            Self::Stored(stored) => {
                assert!(at + len <= stored.len(), "{len} tokens from {at} on, of {}", stored.len());
                stored.read(at, len).map(Cow::Owned)
            }
        }
    }

    /// All of them, in memory.
    pub fn all(&self) -> Result<Cow<'_, [u32]>, TokensError> {
        self.read(0, self.len())
    }

    /// The first few, [`FIRST`] at most.
    pub fn first(&self) -> &[u32] {
        match self {
            Self::Memory(ids) => &ids[..ids.len().min(FIRST)],
            Self::Stored(stored) => &stored.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, head: usize, ids: &[u32], width: Width) -> Stretch {
        let mut bytes = vec![0xff; head];
        width.write(ids, &mut bytes);
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Stretch::open(&path, head as u64, ids.len(), width).unwrap()
    }

    #[test]
    fn a_window_reaches_over_files_of_either_width() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<u32> = (0..20).collect();
        let stretches = vec![
            file(folder.path(), "a", 0, &all[..7], Width::U16),
            file(folder.path(), "b", 1024, &all[7..8], Width::U32),
            file(folder.path(), "none", 0, &[], Width::U16),
            file(folder.path(), "c", 3, &all[8..], Width::U16),
        ];
        let tokens = Tokens::Stored(Stored::new(stretches, 20).unwrap());
        assert_eq!((tokens.len(), tokens.first()), (20, &all[..8]));
        for at in 0..20 {
            for len in 0..=20 - at {
                assert_eq!(*tokens.read(at, len).unwrap(), all[at..at + len], "{at} {len}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_numpy() {
        // np.array([1, 515, 65535], dtype='<u2').tobytes()
        let mut bytes = Vec::new();
        Width::U16.write(&[1, 515, 65535], &mut bytes);
        assert_eq!(bytes, b"\x01\x00\x03\x02\xff\xff");
        assert_eq!([50_257, 65_536, 65_537].map(Width::of_vocabulary), [Width::U16, Width::U16, Width::U32]);
    }

    #[test]
    fn a_token_outside_the_vocabulary_and_a_shortened_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<u32> = (0..30).collect();
        let open = |vocabulary| {
            Stored::new(vec![file(folder.path(), "a.bin", 0, &ids, Width::U16)], vocabulary)
                .map(Tokens::Stored)
        };
        let error = open(29).unwrap().all().unwrap_err().to_string();
        assert!(
            error.contains("token 29") && error.contains("a.bin") && error.contains("29 tokens"),
            "{error}"
        );
        assert!(open(29).unwrap().read(20, 9).is_ok());
        let tokens = open(30).unwrap();
        File::options().write(true).open(folder.path().join("a.bin")).unwrap().set_len(40).unwrap();
        assert!(tokens.read(12, 8).is_ok());
        assert!(tokens.read(12, 9).unwrap_err().to_string().contains("a.bin"));
    }
}
