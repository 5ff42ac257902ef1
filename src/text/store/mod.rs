//! Tokens made once: those of a [`Collection`] under a tokenizer, in a folder of the cache.
//!
//! ```text
//! tokens/
//!     files/<hash>.json          what is known of an input file: its length, time and SHA-256
//!     <key>/                     a whole entry: entry.json, train.bin, val.bin and the tokenizer
//!     <key>.partial/             one in the making: progress.json says how much of its files holds
//!     <key>.tokenizer/           a tokenizer that was learned from a collection
//!     <key>.lock                 held by the process that makes an entry
//! ```
//!
//! A key is a hash of all that decides the tokens: the content of the inputs and how they are read, the tokenizer, and
//! which documents are held out. An entry in the making is renamed when it is whole. One that was interrupted goes on
//! where `progress.json` says, and has the same bytes in the end.

pub mod entry;
mod error;
pub mod facts;
mod prepare;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use self::entry::{Entry, Hold, ONE_IN};
pub use self::error::StoreError;
use self::prepare::Making;
pub use self::prepare::{OnProgress, Progress};
use super::collection::Collection;
use super::documents::inputs::Form;
use super::tokenizer::Tokenizer;
use crate::files::{FileError, hexadecimal, open_own, remove};

/// Changes when the same inputs would give other tokens.
const FORMAT: u32 = 1;
/// A tokenizer that learns merges sees about so many bytes of text; a longer one is sampled.
pub const SAMPLE: u64 = 1 << 26;

const PARTIAL: &str = "partial";
const LEARNED: &str = "tokenizer";

/// The folder of all prepared tokens.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Something in the folder of a [`Store`].
#[derive(Clone, Debug)]
pub enum Item {
    Whole(Box<Entry>),
    /// In the making, or left by a process that was killed.
    Partial(PathBuf),
    /// Not as it was written.
    Damaged(PathBuf),
}

/// The right to make one entry, until it is dropped.
struct Held {
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A process that waits for it looks whether it is still there.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Store {
    /// In the cache folder of the program.
    pub fn new(cache: &Path) -> Self {
        Self { folder: cache.join("tokens") }
    }

    /// Where what is known of input files is kept.
    pub fn facts(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The tokens of a collection: as they were prepared, or prepared now.
    pub fn open(
        &self,
        data: &Collection,
        tokenizer: &Tokenizer,
        hold: Hold,
        progress: OnProgress,
    ) -> Result<Entry, StoreError> {
        let key = key(data, tokenizer, hold);
        let folder = self.folder.join(&key);
        if let Some(entry) = Entry::open(&folder) {
            return Ok(entry);
        }
        let _held = self.hold(&key, progress)?;
        if let Some(entry) = Entry::open(&folder) {
            return Ok(entry);
        }
        remove_folder(&folder)?;
        let partial = self.folder.join(format!("{key}.{PARTIAL}"));
        let making = Making { data, tokenizer, hold, folder: &partial };
        making.finish(progress)?;
        fs::rename(&partial, &folder).map_err(FileError::at("rename", &partial))?;
        Entry::open(&folder).ok_or_else(|| {
            let source = io::Error::other("they are not there");
            StoreError::Write { path: folder, source }
        })
    }

    /// The tokenizer that `learn` makes of a collection under this name: as it was made, or made now.
    pub fn tokenizer(
        &self,
        data: &Collection,
        name: &str,
        learn: impl FnOnce() -> Result<Tokenizer, StoreError>,
    ) -> Result<Tokenizer, StoreError> {
        let recipe = json!([FORMAT, SAMPLE, name, read_by(data)]);
        let folder = self.folder.join(format!("{}.{LEARNED}", hash(&recipe)));
        if let Ok(known) = Tokenizer::load(&folder)
            && known.name() == name
        {
            return Ok(known);
        }
        let learned = learn()?;
        // Without it, it is learned again.
        let keep = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let aside = tempfile::Builder::new().suffix(&format!(".{PARTIAL}")).tempdir_in(&self.folder)?;
            learned.save(aside.path()).map_err(io::Error::other)?;
            remove_folder(&folder).map_err(|error| error.source)?;
            fs::rename(aside.keep(), &folder)
        };
        let _ = keep();
        Ok(learned)
    }

    /// Waits until no other process makes this entry.
    fn hold(&self, key: &str, progress: OnProgress) -> Result<Held, StoreError> {
        let unwritable = |source| StoreError::Write { path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(unwritable)?;
        let path = self.folder.join(format!("{key}.lock"));
        loop {
            let file = open_own(&path, false)?;
            let locked = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    progress(Progress::Waits);
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            locked.map_err(|source| StoreError::Lock { path: path.clone(), source })?;
            // It may have been removed by the process that held it.
            if is_in_place(&file, &path) {
                return Ok(Held { path, _file: file });
            }
        }
    }

    /// All that is in the folder, by name.
    pub fn items(&self) -> Vec<Item> {
        let mut paths: Vec<_> =
            fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let item = |path: PathBuf| match path.extension().and_then(|ending| ending.to_str()) {
            Some(PARTIAL) => Some(Item::Partial(path)),
            None if path.join(entry::ENTRY).exists() => Some(match Entry::open(&path) {
                Some(entry) => Item::Whole(Box::new(entry)),
                None => Item::Damaged(path),
            }),
            _ => None,
        };
        paths.into_iter().filter_map(item).collect()
    }

    /// Removes an item, unless a process makes it just now; says whether it did.
    pub fn remove(&self, item: &Item) -> Result<bool, StoreError> {
        let path = match item {
            Item::Whole(entry) => &entry.folder,
            Item::Partial(path) | Item::Damaged(path) => path,
        };
        let lock = path.with_extension("lock");
        if lock.exists() && open_own(&lock, false)?.try_lock().is_err() {
            return Ok(false);
        }
        remove_folder(path)?;
        Ok(true)
    }

    /// Removes learned tokenizers, and what is known of files.
    pub fn forget(&self) -> Result<(), StoreError> {
        let paths = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let learned = paths.filter(|path| path.extension().is_some_and(|ending| ending == LEARNED));
        learned.chain([self.facts()]).try_for_each(|path| Ok(remove_folder(&path)?))
    }
}

/// Whether an open file is the one at its path.
#[cfg(unix)]
fn is_in_place(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let (own, there) = (file.metadata().map(place), fs::symlink_metadata(path).map(place));
    matches!((own, there), (Ok(own), Ok(there)) if own == there)
}

#[cfg(not(unix))]
fn is_in_place(_: &File, _: &Path) -> bool {
    true
}

fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).map_err(FileError::at("remove", path)),
        Ok(_) => remove(path).map_err(FileError::at("remove", path)),
        Err(_) => Ok(()),
    }
}

fn hash(recipe: &serde_json::Value) -> String {
    hexadecimal(&Sha256::digest(recipe.to_string())[..16])
}

/// What is in the files, and what of it is read.
fn read_by(data: &Collection) -> serde_json::Value {
    let files: Vec<_> = data
        .files
        .iter()
        .zip(&data.facts)
        .map(|(file, facts)| json!([file.form, file.packing, facts.sha256]))
        .collect();
    let has = |form| data.files.iter().any(|file| file.form == form);
    json!({
        "files": files,
        "text_key": has(Form::Lines).then_some(&data.reading.text_key),
        "separator": has(Form::Text).then_some(&data.reading.separator),
        "skips": data.reading.skip_bad_lines,
    })
}

fn key(data: &Collection, tokenizer: &Tokenizer, hold: Hold) -> String {
    hash(&json!({
        "format": FORMAT,
        "data": read_by(data),
        "tokenizer": [tokenizer.fingerprint(), tokenizer.merges_fingerprint().unwrap_or_default()],
        "name": tokenizer.name(),
        "end": tokenizer.end_of_document(),
        "held_out": hold,
        "one_in": ONE_IN,
    }))
}

#[cfg(test)]
mod tests;
