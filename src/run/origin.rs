//! `origin.toml` in the folder of a run: its inputs, each with the hash that identifies it.
//!
//! | part | of |
//! |---|---|
//! | `data` | every run |
//! | `val-data` | pretraining that validates on other data |
//! | `init` | pretraining that went on: the weights that it began with |
//! | `model` | fine-tuning: the same |
//! | `adapter` | the adapter that was merged into them |
//! | `lora-init` | the adapter whose training went on |
//! | `reward`, `principles` | stages that have them |

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::model_file::MODEL;
use crate::files::{FileError, hexadecimal, open_within, read_any, write_whole};
use crate::interop::container::{ContainerError, INDEX, shards};
use crate::interop::peft::WEIGHTS;
use crate::text::corpus::{Corpus, Source, TALES, known};
use crate::text::data::Data;
use crate::text::dataset::text_bytes;
use crate::text::documents::inputs;

pub const ORIGIN: &str = "origin.toml";

/// The inputs of a run, by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin(BTreeMap<String, Piece>);

/// An input of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The path that the user gave, or the name that `--data` knows it by.
    pub name: String,
    #[serde(rename = "kind")]
    pub provenance: Provenance,
    /// Absolute, and only where it was last found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of a file, of a model's weights, or of a text that was made, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where a piece is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// Lal makes it.
    BuiltIn,
    /// A corpus that Lal knows.
    Known,
    /// A file or a folder that the user named.
    Own,
}

/// An input that is missing or has changed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("{path} does not say what the run was made of: {source}; give another copy of the folder")]
    Bad { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{0} is no UTF-8, so that a run cannot note it: rename it")]
    NotUtf8(PathBuf),
    #[error(
        "{place}, the {part} of this run, has changed since the run began: its SHA-256 was {has} and is {found}; give \
         a copy of what it was by {flag}, or start a new run"
    )]
    Changed { part: String, flag: String, place: String, has: String, found: String },
    #[error(
        "the {part} of this run is gone: there is no {path}; give a copy by {flag}{}",
        sha256.as_ref().map_or(String::new(), |hash| format!(", with SHA-256 {hash}"))
    )]
    Gone { part: String, flag: String, path: PathBuf, sha256: Option<String> },
    #[error(
        "{flag} is {asked}, and this run has {has} with other content: a run keeps what it was made of; leave it out, \
         or start a new run with --out"
    )]
    Other { flag: String, asked: String, has: String },
}

impl Piece {
    /// A text that Lal makes.
    pub fn built_in(name: &str) -> Self {
        Self { name: name.to_owned(), provenance: Provenance::BuiltIn, path: None, bytes: None, sha256: None }
    }

    pub fn of_file(path: &Path) -> Result<Self, OriginError> {
        Self::hashed(path, &[path.to_owned()], text_bytes())
    }

    /// The weights in a folder, or a file of them. Those in several files are hashed as if they were one, in the order
    /// of the files' names.
    ///
    /// # Errors
    /// When a file cannot be read, or the index of several files says something else than which they are.
    pub fn of_model(place: &Path) -> Result<Self, OriginError> {
        let (model, index) = (place.join(MODEL), place.join(INDEX));
        let files = match () {
            () if place.is_file() => vec![place.to_owned()],
            () if index.is_file() && !model.exists() => {
                shards(&index)?.iter().map(|shard| place.join(shard)).collect()
            }
            () => vec![model],
        };
        Self::hashed(place, &files, u64::MAX)
    }

    /// The factors of an adapter in a folder.
    pub fn of_adapter(folder: &Path) -> Result<Self, OriginError> {
        Self::hashed(folder, &[folder.join(WEIGHTS)], u64::MAX)
    }

    pub fn of_corpus(corpus: &Corpus) -> Result<Self, OriginError> {
        let made = Self::built_in(&corpus.name);
        Ok(match &corpus.source {
            Source::Own(path) => Self::of_file(path)?,
            Source::Tales { .. } => {
                let (bytes, sha256) = (corpus.text.len() as u64, hexadecimal(&Sha256::digest(&corpus.text)));
                Self { name: TALES.into(), bytes: Some(bytes), sha256: Some(sha256), ..made }
            }
            Source::Found(_) | Source::Downloaded(_) => {
                // Its checksum was right.
                let listed = known().iter().find(|known| known.name == corpus.name);
                let path = match &corpus.source {
                    Source::Found(path) => absolute(path).ok(),
                    Source::Downloaded(path) => path.clone(),
                    _ => None,
                };
                let path = path.filter(|path| path.to_str().is_some());
                let (bytes, sha256) =
                    (listed.map(|known| known.bytes), listed.map(|known| known.sha256.clone()));
                Self { provenance: Provenance::Known, path, bytes, sha256, ..made }
            }
        })
    }

    /// What `--data` names.
    pub fn of_data(data: &Data) -> Result<Self, OriginError> {
        let files = match data {
            Data::Text(corpus) => return Self::of_corpus(corpus),
            Data::Files(files) => files,
        };
        Ok(Self {
            name: files.title.clone(),
            provenance: Provenance::Own,
            path: Some(files.place.clone().into()),
            bytes: Some(files.bytes()),
            sha256: Some(files.sha256()),
        })
    }

    /// Files of no more than `most` bytes each, one after the other.
    fn hashed(named: &Path, files: &[PathBuf], most: u64) -> Result<Self, OriginError> {
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        for path in files {
            let mut read = || -> io::Result<()> {
                let mut file = open_within(path, most)?;
                loop {
                    match file.read(&mut buffer)? {
                        0 => return Ok(()),
                        count => {
                            hash.update(&buffer[..count]);
                            bytes += count as u64;
                        }
                    }
                }
            };
            read().map_err(FileError::at("read", path))?;
        }
        let sha256 = hexadecimal(&hash.finalize());
        let path = absolute(named).map_err(FileError::at("find", named))?;
        if path.to_str().is_none() {
            return Err(OriginError::NotUtf8(path));
        }
        let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        Ok(Self {
            name: name.into_owned(),
            provenance: Provenance::Own,
            bytes: Some(bytes),
            sha256: Some(sha256),
            path: Some(path),
        })
    }

    /// What names it: a path that holds wherever one is, or the name of what Lal knows.
    pub fn place(&self) -> String {
        match &self.path {
            Some(path) if self.provenance == Provenance::Own => path.display().to_string(),
            _ => self.name.clone(),
        }
    }

    /// Whether both are the same to the last bit.
    fn is(&self, other: &Self) -> bool {
        match (&self.sha256, &other.sha256) {
            (Some(own), Some(other)) => own == other,
            _ => self.provenance == other.provenance && self.name == other.name,
        }
    }
}

impl Origin {
    /// What is known of the run in `folder`: nothing where it was begun by a Lal that did not write it down.
    pub fn read(folder: &Path) -> Result<Self, OriginError> {
        if folder.is_file() {
            return Ok(Self::default());
        }
        let path = folder.join(ORIGIN);
        let Some(bytes) = read_any(&path)? else { return Ok(Self::default()) };
        toml::from_slice(&bytes).map_err(|source| OriginError::Bad { path, source: source.into() })
    }

    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("names, paths and hashes under fixed keys");
        write_whole(&folder.join(ORIGIN), text.as_bytes())
    }

    pub fn part(&self, part: &str) -> Option<&Piece> {
        self.0.get(part)
    }

    pub fn set(&mut self, part: &str, piece: Piece) {
        self.0.insert(part.to_owned(), piece);
    }

    /// That `found` is still what the run was made of, as far as that is known.
    pub fn check(&self, part: &str, found: &Piece) -> Result<(), OriginError> {
        let Some(has) = self.part(part).filter(|has| !has.is(found)) else { return Ok(()) };
        let hash = |piece: &Piece| piece.sha256.clone().unwrap_or_else(|| "unknown".into());
        let (part, flag) = (part.to_owned(), format!("--{part}"));
        Err(OriginError::Changed { part, flag, place: found.place(), has: hash(has), found: hash(found) })
    }

    /// The place of a part when the run goes on: where it `was`, or what is `asked` for instead, of the same content.
    /// What is found is recorded. Where nothing else is asked for and the part is not `needed`, it may be gone.
    pub fn again(
        &mut self,
        part: &str,
        was: &str,
        asked: Option<&str>,
        needed: bool,
        mut find: impl FnMut(&str) -> anyhow::Result<Piece>,
    ) -> anyhow::Result<String> {
        let flag = || format!("--{part}");
        let same_place = |asked: &&str| same_place(asked, was);
        let Some(asked) = asked.filter(|asked| !same_place(asked)) else {
            if !needed {
                return Ok(was.to_owned());
            }
            let gone =
                self.part(part).is_none_or(|piece| piece.provenance == Provenance::Own) && is_gone(was);
            if gone {
                let sha256 = self.part(part).and_then(|piece| piece.sha256.clone());
                return Err(
                    OriginError::Gone { part: part.into(), flag: flag(), path: was.into(), sha256 }.into()
                );
            }
            let found = find(was)?;
            self.check(part, &found)?;
            let place = found.place();
            self.set(part, found);
            return Ok(place);
        };
        let found = find(asked)?;
        let other = || OriginError::Other { flag: flag(), asked: asked.to_owned(), has: was.to_owned() };
        // Of an older run only its place is known.
        let had = match self.part(part) {
            Some(piece) => piece.clone(),
            None => find(was).map_err(|_| other())?,
        };
        if !had.is(&found) {
            return Err(other().into());
        }
        let place = found.place();
        self.set(part, found);
        Ok(place)
    }
}

fn is_gone(place: &str) -> bool {
    let path = Path::new(place);
    // A bare word is the name of a corpus.
    path.components().count() > 1 && !inputs::exist(place)
}

fn same_place(one: &str, other: &str) -> bool {
    let same = || inputs::absolute_names(one) == inputs::absolute_names(other) && inputs::exist(one);
    one == other || same()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The SHA-256 of "abc" and of "abd" (FIPS 180-2, and `sha256sum`).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn found(place: &str) -> anyhow::Result<Piece> {
        Ok(Piece::of_file(Path::new(place))?)
    }

    #[test]
    fn a_file_is_known_again_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (own, copy, other) = (file("own", "abc"), file("copy", "abc"), file("other", "abd"));
        let mut origin = Origin::default();
        assert_eq!(origin.again("data", &own, None, true, found).unwrap(), own);
        assert_eq!(origin.part("data").unwrap().sha256.as_deref(), Some(ABC));
        origin.write(folder.path()).unwrap();
        let read = Origin::read(folder.path()).unwrap();
        assert_eq!(read, origin);
        assert_eq!(origin.again("data", &own, Some(&copy), true, found).unwrap(), copy);
        let error = origin.again("data", &copy, Some(&other), true, found).unwrap_err().to_string();
        assert!(error.contains("--data") && error.contains("other"), "{error}");

        origin = read;
        fs::write(&own, "abd").unwrap();
        let error = origin.again("data", &own, None, true, found).unwrap_err().to_string();
        assert!(error.contains("has changed") && error.contains(ABC), "{error}");
        fs::remove_file(&own).unwrap();
        let error = origin.again("data", &own, None, true, found).unwrap_err().to_string();
        assert!(error.contains("is gone") && error.contains(ABC), "{error}");
        assert_eq!(origin.again("data", &own, None, false, found).unwrap(), own);
        assert_eq!(origin.again("data", &own, Some(&copy), true, found).unwrap(), copy);
        assert_eq!(Origin::read(Path::new("no/such/folder")).unwrap(), Origin::default());
    }
}
