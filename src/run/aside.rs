//! Files that are whole or not there: written aside, synced, renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file operation that failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}{}", advice(source))]
pub struct FileError {
    /// `write`, `read`, `create`: what was tried.
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: what was tried, on which path.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }
}

fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; what was saved before is intact: free some space and continue with --resume"
        }
        PermissionDenied | ReadOnlyFilesystem => {
            "; what is there is unchanged: choose a folder you may write to with --out"
        }
        NotFound => "; check the path",
        _ => "",
    }
}

/// A file written beside its place, under the name with `.partial` added: a fixed name, so that what a
/// killed process left behind is overwritten by the next. Dropped without [`commit`](Self::commit), it is
/// removed and its place is as before.
#[derive(Debug)]
pub struct Aside {
    place: PathBuf,
    partial: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Aside {
    /// Begins a file that will be at `place`.
    ///
    /// # Errors
    /// When its folder cannot be written to.
    pub fn new(place: &Path) -> Result<Self, FileError> {
        let mut partial = place.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(FileError::at("write", place))?;
        Ok(Self { place: place.to_owned(), partial, file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the disk is full or fails; or after [`finish`](Self::finish).
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the file is finished"));
        file.and_then(|file| file.write_all(bytes)).map_err(FileError::at("write", &self.place))
    }

    /// Puts all that was written on the disk; only the name is missing then.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(FileError::at("write", &self.place))
    }

    /// Puts the file in its place, atomically: a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// When it cannot be finished or renamed; the old one stays.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.finish()?;
        fs::rename(&self.partial, &self.place).map_err(FileError::at("write", &self.place))?;
        sync_folder(&self.place);
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.file = None;
        // After a commit there is none. If removing fails, the next file of this name overwrites it.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Makes a rename last through a loss of power, where folders can be synced (not on Windows).
fn sync_folder(place: &Path) {
    if let Some(folder) = place.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// Writes a whole file at once.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn write_whole(place: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut aside = Aside::new(place)?;
    aside.write(bytes)?;
    aside.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        fs::write(&place, "old").unwrap();
        let mut aside = Aside::new(&place).unwrap();
        aside.write(b"new").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        aside.commit().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_given_up_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        fs::write(&place, "old").unwrap();
        Aside::new(&place).unwrap().write(b"half").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_fails_is_named() {
        let error = write_whole(Path::new("no/such/folder/a.txt"), b"").unwrap_err().to_string();
        assert!(error.contains("a.txt") && error.contains("check the path"), "{error}");
    }
}
