//! One process at a time in the folder of a run.
//!
//! The lock is the operating system's, on a file that holds the process id: a killed process leaves the file, and no
//! lock.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::files::{FileError, open_own};

pub const LOCK: &str = "run.lock";

/// The right to write to a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a folder cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{folder} is in use by {}: wait until it ends, or stop it; two runs cannot write to one folder", process.map_or("another process".into(), |id| format!("process {id}")))]
    Held { folder: PathBuf, process: Option<u32> },
}

impl Lock {
    /// Locks `folder`.
    ///
    /// # Errors
    /// When another process has locked it, or the file cannot be written.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK);
        loop {
            let file = open_own(&path, false)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { folder: folder.to_owned(), process: holder(&path) });
                }
                // Some network file systems have no locks: users must take care themselves.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(FileError::at("lock", &path)(error).into()),
            }
            let mut lock = Self { file, path: path.clone() };
            if lock.is_in_place() {
                lock.sign().map_err(FileError::at("write", &path))?;
                return Ok(lock);
            }
        }
    }

    /// Whether the file that is locked is the one at its path: another process may have ended, and removed it, between
    /// the opening and the locking.
    #[cfg(unix)]
    fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let own = self.file.metadata().map(place);
        let there = fs::symlink_metadata(&self.path).map(place);
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }

    #[cfg(not(unix))]
    fn is_in_place(&self) -> bool {
        true
    }

    fn sign(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        writeln!(self.file, "{}", process::id())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Elsewhere the file stays: a second process may have just locked it.
        if cfg!(unix) && self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The process that holds a lock; it may be about to sign.
fn holder(path: &Path) -> Option<u32> {
    for _ in 0..20 {
        if let Some(id) = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            return Some(id);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_by_the_first_ones_process() {
        let folder = tempfile::tempdir().unwrap();
        // As a killed process left it.
        fs::write(folder.path().join(LOCK), "1\n").unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        let told = if cfg!(unix) { format!("process {}:", process::id()) } else { "process".into() };
        assert!(error.contains(&told), "{error}");
        drop(lock);
        drop(Lock::take(folder.path()).unwrap());
        assert!(cfg!(not(unix)) || !folder.path().join(LOCK).exists());
    }

    /// Many at once, each ending as another begins: never are two in the folder.
    #[test]
    fn there_is_never_more_than_one() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 400 {
                        if let Ok(lock) = Lock::take(folder.path()) {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
