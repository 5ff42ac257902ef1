//! What is known of input files: their hashes, kept in the cache so that a file that has not changed since is not read
//! again.
//!
//! As with git's index, a file is taken for unchanged if its length, time of change and place on the disk are the same,
//! and that time is well before the file was read: within the same tick of the clock another change could be missed.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::{hexadecimal, open, open_within, read_any, write_shared};
use crate::text::documents::inputs::{Form, Input};
use crate::text::documents::parts::{Parts, Place};
use crate::text::documents::rows::Rows;
use crate::text::documents::{DocumentsError, Reading};

/// How much older than its reading a file must be: file systems count time in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// The most bytes of a file.
const MOST: u64 = 1 << 38;

/// A file, as far as it tells it from another or from itself at another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    changed: u64,
    inode: u64,
}

/// The content of a text, without what was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub bytes: u64,
    pub chars: u64,
    pub sha256: String,
    skips: bool,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    stamp: Stamp,
    /// When it was read, in nanoseconds since 1970.
    read: u64,
    /// Of the file itself.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let modified = nanoseconds(found.modified()?);
        let (changed, inode) = place(&found);
        Ok(Self { path: absolute(path)?, bytes: found.len(), modified, changed, inode })
    }
}

#[cfg(unix)]
fn place(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    ((found.ctime() as u64).wrapping_mul(1_000_000_000).wrapping_add(found.ctime_nsec() as u64), found.ino())
}

#[cfg(not(unix))]
fn place(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// How far a reading is, in bytes of files.
pub type OnBytes<'a> = &'a mut dyn FnMut(u64);

impl Facts {
    /// The facts of `input`, from the folder in which they are kept or by reading the file now. With `asks` they include
    /// its content. `on_bytes` is called with the number of bytes of each read.
    pub fn of(
        input: &Input,
        asks: Option<&Reading>,
        folder: Option<&Path>,
        on_bytes: OnBytes,
    ) -> Result<Self, DocumentsError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DocumentsError::Missing(input.path.clone()),
            _ => DocumentsError::Unreadable { path: input.path.clone(), source },
        };
        // What is no regular file, or longer than any corpus of text for one machine, is said at once.
        open_within(&input.path, MOST).map_err(unreadable)?;
        let stamp = Stamp::of(&input.path).map_err(unreadable)?;
        let kept = folder.map(|folder| folder.join(format!("{}.json", name(&stamp.path))));
        let known = kept.as_deref().and_then(Self::read).filter(|known| known.holds(&stamp));
        let mut facts = match known {
            Some(known) => known,
            None => {
                let read = nanoseconds(SystemTime::now());
                let sha256 = hash(&input.path, on_bytes).map_err(unreadable)?;
                Self { stamp: stamp.clone(), read, sha256, content: None }
            }
        };
        let lacks = asks
            .filter(|asks| facts.content.as_ref().is_none_or(|content| content.skips != asks.skip_bad_lines));
        if let Some(reading) = lacks {
            facts.content = Some(content(input, reading)?);
        }
        if Stamp::of(&input.path).map_err(unreadable)? != stamp {
            return Err(DocumentsError::Changed(input.path.clone()));
        }
        if let Some(kept) = kept.filter(|kept| Self::read(kept).as_ref() != Some(&facts)) {
            // Without it the file is read again.
            let json = serde_json::to_vec(&facts).expect("numbers and texts");
            let _ = write_shared(&kept, &json);
        }
        Ok(facts)
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&read_any(path).ok()??).ok()
    }

    fn holds(&self, stamp: &Stamp) -> bool {
        let settled = self.stamp.modified.max(self.stamp.changed) + SETTLED.as_nanos() as u64;
        self.stamp == *stamp && settled < self.read
    }

    /// Bytes of the file itself.
    pub fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// That the file is still what it was.
    pub fn check(&self) -> Result<(), DocumentsError> {
        match Stamp::of(&self.stamp.path) {
            Ok(now) if now == self.stamp => Ok(()),
            _ => Err(DocumentsError::Changed(self.stamp.path.clone())),
        }
    }
}

fn name(path: &Path) -> String {
    hexadecimal(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..16])
}

fn hash(path: &Path, on_bytes: OnBytes) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => {
                hash.update(&buffer[..count]);
                on_bytes(count as u64);
            }
        }
    }
}

/// Of a text without what is skipped; of lines, with all.
fn content(input: &Input, reading: &Reading) -> Result<Content, DocumentsError> {
    let (mut bytes, mut chars, mut hash) = (0, 0, Sha256::new());
    let mut parts = Parts::open(input, reading, Place::default(), false)?;
    let rows = Rows { path: &input.path, form: input.form, reading };
    while let Some(part) = parts.read_next()? {
        if input.form == Form::Lines {
            bytes += part.bytes.len() as u64;
            hash.update(&part.bytes);
            continue;
        }
        for row in rows.of(&part) {
            let Some(text) = rows.text(&row)?.0 else { continue };
            bytes += text.len() as u64;
            chars += text.chars().count() as u64;
            hash.update(text.as_bytes());
        }
    }
    Ok(Content { bytes, chars, sha256: hexadecimal(&hash.finalize()), skips: reading.skip_bad_lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("a.txt"), folder.path().join("kept"));
        let old = SystemTime::now() - Duration::from_secs(60);
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        };
        let reading = Reading::default();
        let facts = || {
            let mut read = 0;
            let facts = Facts::of(&Input::new(path.clone()), Some(&reading), Some(&kept), &mut |n| read += n);
            (facts.unwrap(), read)
        };
        write("abc");
        // FIPS 180-2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let (first, read) = facts();
        assert_eq!((first.sha256.as_str(), first.bytes(), read), (abc, 3, 3));
        assert_eq!(first.content.as_ref().unwrap().chars, 3);
        // Its status changed a moment ago, so that nothing is sure yet.
        assert_eq!(facts().1, 3);
        let mut settled = first.clone();
        settled.read += 2 * SETTLED.as_nanos() as u64;
        let place = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
        fs::write(&place, serde_json::to_vec(&settled).unwrap()).unwrap();
        assert_eq!(facts(), (settled, 0));
        write("abd");
        let (changed, read) = facts();
        assert!(changed.sha256 != abc && read == 3);
        assert!(first.check().is_err() && changed.check().is_ok());
    }
}
