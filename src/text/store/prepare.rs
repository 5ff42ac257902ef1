//! Making an entry: parts of the files are read, made to tokens on all cores, and appended, the next part being read
//! meanwhile.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::{Amount, Description, Entry, Hold, ONE_IN, TOKENS, hash_of};
use super::error::StoreError;
use crate::files::{FileError, open_own, read_any, remove, write_whole};
use crate::text::collection::Collection;
use crate::text::documents::DocumentsError;
use crate::text::documents::inputs::{Form, Input};
use crate::text::documents::parts::{Part, Parts, Place};
use crate::text::documents::rows::{Row, Rows};
use crate::text::tokenizer::{Tokenizer, TokenizerError};
use crate::text::tokens::Width;

const PROGRESS: &str = "progress.json";
/// Bytes of content after which it is written down how far one is.
const STAGE: u64 = 1 << 26;

/// What happens while tokens are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process prepares the same.
    Waits,
    /// So many bytes of the files are done, of all.
    At { done: u64, total: u64 },
}

/// Receives them.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// An entry in the making.
pub struct Making<'a> {
    pub data: &'a Collection,
    pub tokenizer: &'a Tokenizer,
    pub hold: Hold,
    pub folder: &'a Path,
}

/// How far it is: what `progress.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Files that are done.
    files: usize,
    /// How much is done of the next one: the byte of its content, and the lines and characters before that.
    byte: u64,
    lines: u64,
    chars: u64,
    skipped_lines: u64,
    /// Of both files of tokens.
    amounts: [Amount; 2],
}

/// What a row became.
struct Encoded {
    /// In each file of tokens.
    ids: [Vec<u32>; 2],
    bytes: [u64; 2],
    documents: [u64; 2],
    chars: u64,
    skipped: u64,
}

impl Making<'_> {
    /// Makes it whole, from where it stopped if it was begun before.
    pub fn finish(&self, progress: OnProgress) -> Result<(), StoreError> {
        let unwritable = |source| StoreError::Write { path: self.folder.to_owned(), source };
        fs::create_dir_all(self.folder).map_err(unwritable)?;
        let mut state = self.begun()?;
        let mut files = Files::open(self.folder, self.width(), &state)?;
        let total = self.data.bytes();
        let done = |files: usize| self.data.facts[..files].iter().map(|facts| facts.bytes()).sum::<u64>();
        while let Some(input) = self.data.files.get(state.files) {
            let before = done(state.files);
            let mut on_taken = |taken| progress(Progress::At { done: before + taken, total });
            self.read(input, &mut state, &mut files, &mut on_taken)?;
            self.data.facts[state.files].check()?;
            state = State { files: state.files + 1, byte: 0, lines: 0, chars: 0, ..state };
        }
        files.sync()?;
        let [train, val] = state.amounts;
        if train.tokens + val.tokens == 0 {
            let _ = fs::remove_dir_all(self.folder);
            return Err(DocumentsError::Empty(self.data.name.clone()).into());
        }
        let hash = |name: &str| {
            let path = self.folder.join(name);
            hash_of(&path).map_err(FileError::at("read", &path))
        };
        let description = Description {
            data: self.data.place.clone(),
            sha256: self.data.sha256(),
            tokenizer: self.tokenizer.name(),
            vocab_size: self.tokenizer.vocab_size(),
            width: self.width().bytes(),
            held_out: self.hold,
            skipped_lines: state.skipped_lines,
            train,
            val,
            hashes: [hash(TOKENS[0])?, hash(TOKENS[1])?],
        };
        let named = |source| StoreError::Tokenizer { name: self.data.name.clone(), source };
        self.tokenizer.save(self.folder).map_err(named)?;
        let progress = self.folder.join(PROGRESS);
        Entry::write(self.folder, &description)?;
        Ok(remove(&progress).map_err(FileError::at("remove", &progress))?)
    }

    fn width(&self) -> Width {
        Width::of_vocabulary(self.tokenizer.vocab_size())
    }

    /// How far an earlier process came.
    fn begun(&self) -> Result<State, StoreError> {
        let written = read_any(&self.folder.join(PROGRESS))?;
        let state: Option<State> = written.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(state.filter(|state| state.files <= self.data.files.len()).unwrap_or_default())
    }

    fn read(
        &self,
        input: &Input,
        state: &mut State,
        files: &mut Files,
        on_taken: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let place = Place { byte: state.byte, lines: state.lines };
        let mut parts = Parts::open(input, &self.data.reading, place, self.tokenizer.joins_words())?;
        let (mut next, mut written) = (parts.read_next()?, state.byte);
        while let Some(part) = next {
            // The next one is read while this one is made to tokens.
            let (read, encoded) = rayon::join(|| parts.read_next(), || self.encode(input, &part, state));
            for row in encoded? {
                files.append(&row, state)?;
            }
            (state.byte, state.lines) = (part.end(), part.line - 1 + part.lines());
            on_taken(parts.taken());
            next = read?;
            if state.byte - written >= STAGE && next.is_some() {
                files.sync()?;
                let json = serde_json::to_vec(state).expect("numbers");
                write_whole(&self.folder.join(PROGRESS), &json)
                    .map_err(|error| files.failed(error.source))?;
                written = state.byte;
            }
        }
        Ok(())
    }

    /// The rows of a part, in order.
    fn encode(&self, input: &Input, part: &Part, state: &State) -> Result<Vec<Encoded>, StoreError> {
        let rows = Rows { path: &input.path, form: input.form, reading: &self.data.reading };
        let separate = input.form == Form::Lines || !self.data.reading.separator.is_empty();
        let of_row = |row: &Row| {
            let (text, skipped) = rows.text(row)?;
            let text = text.unwrap_or_default();
            let mut encoded = match separate {
                true => self.document(&text),
                false => self.piece(&text, state, part.is_last),
            }
            .map_err(|source| {
                let name = format!("{}:{}", input.path.display(), row.line);
                StoreError::Tokenizer { name, source }
            })?;
            encoded.skipped = skipped;
            Ok(encoded)
        };
        rows.of(part).par_iter().map(of_row).collect()
    }

    /// A whole document, and its end.
    fn document(&self, text: &str) -> Result<Encoded, TokenizerError> {
        let mut encoded = Encoded::empty();
        if text.is_empty() {
            return Ok(encoded);
        }
        let part = usize::from(self.hold == Hold::Documents && is_held_out(&Sha256::digest(text)));
        encoded.ids[part] = self.tokenizer.encode(text)?;
        encoded.ids[part].extend(self.tokenizer.end_of_document());
        (encoded.bytes[part], encoded.documents[part]) = (text.len() as u64, 1);
        Ok(encoded)
    }

    /// A piece of a text that is a document by itself.
    fn piece(&self, text: &str, state: &State, is_last: bool) -> Result<Encoded, TokenizerError> {
        let mut encoded = Encoded::empty();
        let content = self.data.facts[state.files].content.as_ref();
        let end = |ids: &mut Vec<u32>| {
            if is_last && !self.data.is_one_text() {
                ids.extend(self.tokenizer.end_of_document());
            }
        };
        encoded.chars = text.chars().count() as u64;
        match self.hold {
            Hold::LastTenth => {
                let first = content.map_or(0, |content| content.chars) * 9 / 10;
                let chars = usize::try_from(first.saturating_sub(state.chars)).unwrap_or(usize::MAX);
                let middle = text.char_indices().nth(chars).map_or(text.len(), |(byte, _)| byte);
                let at = self.tokenizer.cut(text, middle);
                for (part, text) in [&text[..at], &text[at..]].into_iter().enumerate() {
                    encoded.ids[part] = self.tokenizer.encode(text)?;
                    encoded.bytes[part] = text.len() as u64;
                }
            }
            hold => {
                let hash = content.map(|content| content.sha256.as_str()).unwrap_or_default();
                let part = usize::from(hold == Hold::Documents && is_held_out_by(hash));
                encoded.ids[part] = self.tokenizer.encode(text)?;
                encoded.bytes[part] = text.len() as u64;
                end(&mut encoded.ids[part]);
                encoded.documents[part] = u64::from(is_last);
            }
        }
        Ok(encoded)
    }
}

/// By the SHA-256 of its text alone, so that a document is where it is whatever others there are, and its copies too.
fn is_held_out(hash: &[u8]) -> bool {
    let first = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    first % ONE_IN == 0
}

/// The same of a hash in hexadecimal.
fn is_held_out_by(hash: &str) -> bool {
    u64::from_str_radix(hash.get(..16).unwrap_or_default(), 16).is_ok_and(|first| first % ONE_IN == 0)
}

impl Encoded {
    fn empty() -> Self {
        Self { ids: [Vec::new(), Vec::new()], bytes: [0; 2], documents: [0; 2], chars: 0, skipped: 0 }
    }
}

/// The two files of tokens, which are appended to.
struct Files {
    paths: [PathBuf; 2],
    files: [BufWriter<File>; 2],
    width: Width,
    buffer: Vec<u8>,
}

impl Files {
    /// As long as `state` says: what was written after that is cut off.
    fn open(folder: &Path, width: Width, state: &State) -> Result<Self, StoreError> {
        let open = |part: usize| -> Result<BufWriter<File>, StoreError> {
            let path = folder.join(TOKENS[part]);
            let mut file = open_own(&path, false)?;
            let length = state.amounts[part].tokens * width.bytes() as u64;
            let mut fit = || -> io::Result<()> {
                // What the disk lost after the state was written down would be zeros.
                if file.metadata()?.len() < length {
                    return Err(io::Error::other(
                        "it is shorter than its progress.json says: remove its folder",
                    ));
                }
                file.set_len(length)?;
                io::Seek::seek(&mut file, io::SeekFrom::End(0)).map(drop)
            };
            fit().map_err(|source| StoreError::Write { path, source })?;
            Ok(BufWriter::with_capacity(1 << 20, file))
        };
        let files = [open(0)?, open(1)?];
        Ok(Self { paths: TOKENS.map(|name| folder.join(name)), files, width, buffer: Vec::new() })
    }

    fn append(&mut self, row: &Encoded, state: &mut State) -> Result<(), StoreError> {
        for part in 0..2 {
            self.buffer.clear();
            self.width.write(&row.ids[part], &mut self.buffer);
            let written = self.files[part].write_all(&self.buffer);
            written.map_err(|source| StoreError::Write { path: self.paths[part].clone(), source })?;
            let amount = &mut state.amounts[part];
            amount.tokens += row.ids[part].len() as u64;
            amount.bytes += row.bytes[part];
            amount.documents += row.documents[part];
        }
        state.chars += row.chars;
        state.skipped_lines += row.skipped;
        Ok(())
    }

    /// Puts what was appended on the disk.
    fn sync(&mut self) -> Result<(), StoreError> {
        for (file, path) in self.files.iter_mut().zip(&self.paths) {
            let synced = file.flush().and_then(|()| file.get_ref().sync_data());
            synced.map_err(|source| StoreError::Write { path: path.clone(), source })?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Write { path: self.paths[0].clone(), source }
    }
}
