//! A folder of prepared tokens: `train.bin` and `val.bin`, in the form that nanoGPT has, and `entry.json`, which says
//! what they are and is written last.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StoreError;
use crate::files::{hexadecimal, open, read_any, write_whole};
use crate::text::dataset::{Dataset, HeldOut};
use crate::text::tokens::{Stored, Stretch, Tokens, TokensError, Width};

/// What [`Description`] is kept in.
pub const ENTRY: &str = "entry.json";
/// The files of tokens: to learn from, and to validate on.
pub const TOKENS: [&str; 2] = ["train.bin", "val.bin"];

/// How much a file of tokens holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub tokens: u64,
    /// Of the text.
    pub bytes: u64,
    pub documents: u64,
}

/// Of so many documents one is held out.
pub const ONE_IN: u64 = 20;

/// How the documents to validate on are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// None.
    Nothing,
    /// The last tenth of the characters of a single text.
    LastTenth,
    /// By their hash, whatever else there is.
    Documents,
}

/// What `entry.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Of the files, as `--data` named them when they were prepared.
    pub data: String,
    /// Of the data.
    pub sha256: String,
    pub tokenizer: String,
    pub vocab_size: usize,
    /// Bytes of a token.
    pub width: usize,
    pub held_out: Hold,
    pub skipped_lines: u64,
    pub train: Amount,
    pub val: Amount,
    /// Of the files of tokens.
    pub hashes: [String; 2],
}

impl Description {
    pub fn width(&self) -> Width {
        Width::of_vocabulary(self.vocab_size)
    }

    fn amounts(&self) -> [Amount; 2] {
        [self.train, self.val]
    }

    pub fn token_bytes(&self) -> u64 {
        self.amounts().iter().map(|amount| amount.tokens * self.width as u64).sum()
    }
}

/// Prepared tokens.
#[derive(Clone, Debug)]
pub struct Entry {
    pub folder: PathBuf,
    pub description: Description,
}

impl Entry {
    /// The entry in a folder; `None` where none is whole.
    pub fn open(folder: &Path) -> Option<Self> {
        let bytes = read_any(&folder.join(ENTRY)).ok()??;
        let description: Description = serde_json::from_slice(&bytes).ok()?;
        let entry = Self { folder: folder.to_owned(), description };
        let has = |name| fs::metadata(folder.join(name)).map(|found| found.len()).ok();
        let width = entry.description.width as u64;
        let is_whole = entry.description.width == entry.description.width().bytes()
            && TOKENS
                .iter()
                .zip(entry.description.amounts())
                .all(|(name, amount)| has(name) == amount.tokens.checked_mul(width));
        is_whole.then_some(entry)
    }

    /// Describes the finished files of tokens in a folder.
    pub(super) fn write(folder: &Path, description: &Description) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(description).expect("numbers and texts");
        Ok(write_whole(&folder.join(ENTRY), &json)?)
    }

    /// The name of its folder.
    pub fn key(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The file of tokens that is not as it was written, if there is one.
    pub fn damaged(&self) -> Option<PathBuf> {
        let right = |(name, hash): &(&&str, &String)| {
            hash_of(&self.folder.join(name)).is_ok_and(|found| found == **hash)
        };
        let mut files = TOKENS.iter().zip(&self.description.hashes);
        files.find(|file| !right(file)).map(|(name, _)| self.folder.join(name))
    }

    /// The tokens to learn from and those to validate on.
    pub fn dataset(&self, name: &str) -> Result<Dataset, TokensError> {
        let held_out = match self.description.held_out {
            Hold::LastTenth => HeldOut::LastTenth,
            _ => HeldOut::Documents,
        };
        let (train, val) = (self.tokens(0)?, self.tokens(1)?);
        let val_bytes = self.description.val.bytes as usize;
        Ok(Dataset { name: name.to_owned(), train, val, val_bytes, held_out })
    }

    /// All tokens of an entry that holds nothing out, and the bytes of their text.
    pub fn whole(&self) -> Result<(Tokens, usize), TokensError> {
        Ok((self.tokens(0)?, self.description.train.bytes as usize))
    }

    fn tokens(&self, part: usize) -> Result<Tokens, TokensError> {
        let Description { vocab_size, .. } = self.description;
        let len = self.description.amounts()[part].tokens as usize;
        let stretch = Stretch::open(&self.folder.join(TOKENS[part]), 0, len, self.description.width())?;
        Ok(Tokens::Stored(Stored::new(vec![stretch], vocab_size)?))
    }
}

/// The SHA-256 of a file.
pub(super) fn hash_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut buffer) = (open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
