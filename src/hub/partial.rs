//! A file that is not whole yet.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::error::HubError;
use crate::files::hexadecimal;

/// What the hub says of a file.
pub struct Told {
    pub size: Option<u64>,
    pub hash: Option<String>,
}

/// The beginning of a file, which one program at a time adds to.
pub struct Partial {
    path: PathBuf,
    file: File,
    pub length: u64,
}

impl Partial {
    pub fn open(path: PathBuf) -> Result<Self, HubError> {
        let attempt = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::options().read(true).append(true).create(true).open(&path)
        };
        let file = attempt().map_err(HubError::at("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(HubError::Locked { path }),
            // Some file systems have no locks.
            Err(fs::TryLockError::Error(_)) => {}
        }
        let length = file.metadata().map_err(HubError::at("read", &path))?.len();
        Ok(Self { path, file, length })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::at("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub fn restart(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::at("write", &self.path))?;
        self.length = 0;
        Ok(())
    }

    /// The hash of the file, if it is the one expected; else it is removed.
    pub fn check(
        &mut self,
        told: &Told,
        wrong: impl Fn(String, String) -> HubError,
    ) -> Result<String, HubError> {
        if let Some(size) = told.size.filter(|&size| size != self.length) {
            let error = wrong(format!("{size} bytes"), format!("{} bytes", self.length));
            self.restart()?;
            return Err(error);
        }
        let expected = told.hash.as_deref();
        let found = match expected.map(str::len) {
            Some(40) => self.hashed::<Sha1>(format!("blob {}\0", self.length).as_bytes())?,
            None | Some(64) => self.hashed::<Sha256>(b"")?,
            // A name that says nothing of the content.
            Some(_) => return Ok(expected.unwrap_or_default().to_owned()),
        };
        match expected {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
                self.restart()?;
                Err(wrong(format!("the hash {expected}"), format!("the hash {found}")))
            }
            Some(expected) => Ok(expected.to_owned()),
            None => Ok(found),
        }
    }

    fn hashed<D: Digest>(&mut self, before: &[u8]) -> Result<String, HubError> {
        let mut hash = D::new();
        hash.update(before);
        let mut buffer = vec![0; 1 << 16];
        let mut attempt = || {
            self.file.seek(SeekFrom::Start(0))?;
            loop {
                let count = self.file.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                hash.update(&buffer[..count]);
            }
        };
        attempt().map_err(HubError::at("read", &self.path))?;
        Ok(hexadecimal(&hash.finalize()))
    }

    /// Gives the file its name, whole as it is.
    pub fn keep(self, path: &Path) -> Result<(), HubError> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, path));
        renamed.map_err(HubError::at("write", path))
    }
}
