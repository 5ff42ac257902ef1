//! Files that are whole or not there: written under another name, synced, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::FileError;

/// A file in the making, under its name with `.partial` added: a fixed name, so that what a killed process left is
/// overwritten by the next. Dropped without [`commit`](Self::commit), it is removed, and what was at its path stays.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    partial: PathBuf,
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// When its folder cannot be written to, or a device or a pipe is there, which a file would replace.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() && !found.is_symlink()) {
            return Err(FileError::at("write", path)(io::Error::other("it is no file")));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // Removed first, a link is not followed; and what cannot be made anew is not written to.
        let fresh = remove(&partial).and_then(|()| File::create_new(&partial));
        let file = fresh.map_err(FileError::at("write", path))?;
        Ok(Self { path: path.to_owned(), partial, file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the file is finished"));
        file.and_then(|file| file.write_all(bytes)).map_err(FileError::at("write", &self.path))
    }

    /// Puts all that was written on the disk; only the name is missing then.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(FileError::at("write", &self.path))
    }

    /// Puts the file at its path, atomically: a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// When it cannot be finished or renamed; the old one stays.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.finish()?;
        fs::rename(&self.partial, &self.path).map_err(FileError::at("write", &self.path))?;
        sync_folder(&self.path);
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        self.file = None;
        // After a commit there is none. If removing fails, the next file of this name overwrites it.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Makes a rename last through a loss of power, where folders can be synced (not on Windows).
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// Writes a whole file at once.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::new(path)?;
    file.write(bytes)?;
    file.commit()
}

/// Writes what a person wants at a path of their choice: through a link, and into a device or a pipe such as
/// `/dev/stdout`, if that is there, and else as [`write_whole`].
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        return opened.and_then(|mut file| file.write_all(bytes)).map_err(FileError::at("write", path));
    }
    write_whole(path, bytes)
}

/// A whole file where several processes may write it at once, as in a cache: each has a name of its own for what is not
/// whole.
///
/// # Errors
/// As [`write_whole`]; and the folder is made if need be.
pub fn write_shared(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || {
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    attempt().map_err(FileError::at("write", path))
}

/// Opens a file to be changed where it is, made if there is none: with `append` at its end, else for reading too. A
/// link, or a file that has another name elsewhere, is replaced by a new file.
pub fn open_own(path: &Path, append: bool) -> Result<File, FileError> {
    let attempt = || {
        if !is_own(path) {
            remove(path)?;
        }
        OpenOptions::new().create(true).append(append).write(true).read(!append).truncate(false).open(path)
    };
    attempt().map_err(FileError::at("write", path))
}

/// Whether there is a file by this one name alone: no link, and none that has another name elsewhere.
pub fn is_own(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
        return false;
    }
    found.is_file()
}

/// Removes a file or a link, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_any;

    #[test]
    fn a_file_appears_whole_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::new(&path).unwrap();
        file.write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_given_up_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        AtomicFile::new(&path).unwrap().write(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_fails_is_named() {
        let error = write_whole(Path::new("no/such/folder/a.txt"), b"").unwrap_err().to_string();
        assert!(error.contains("a.txt") && error.contains("check the path"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let (precious, folder) = (outer.path().join("precious"), outer.path().join("run"));
        fs::write(&precious, "mine").unwrap();
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        for name in ["a.partial", "a", "b", "c", "d"] {
            symlink(&precious, path(name)).unwrap();
        }
        fs::hard_link(&precious, path("e")).unwrap();
        symlink(outer.path().join("none"), path("f")).unwrap();
        write_whole(&path("a"), b"new").unwrap();
        write_shared(&path("b"), b"new").unwrap();
        for (name, append) in [("c", true), ("d", false), ("e", true), ("f", true)] {
            open_own(&path(name), append).unwrap().write_all(b"new").unwrap();
        }
        for name in ["a", "b", "c", "d", "e", "f"] {
            assert!(fs::symlink_metadata(path(name)).unwrap().is_file(), "{name} is a link still");
            assert_eq!(fs::read(path(name)).unwrap(), b"new", "{name}");
        }
        assert_eq!(fs::read(&precious).unwrap(), b"mine");
        assert!(!outer.path().join("none").exists());
        symlink("/dev/zero", path("g")).unwrap();
        assert_eq!(read_any(&path("g")).unwrap(), None);
    }

    /// A pipe stands for a device, which only root could lose.
    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_never_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link] = ["pipe", "link"].map(|name| folder.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link] {
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| fs::read(&pipe).unwrap());
                write_output(path, b"new").unwrap();
                assert_eq!(reader.join().unwrap(), b"new");
            });
        }
        let error = write_whole(&pipe, b"new").unwrap_err().to_string();
        assert!(error.contains("pipe") && error.contains("no file"), "{error}");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn all_files_have_one_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plain"), "").unwrap();
        write_whole(&path("whole"), b"").unwrap();
        write_shared(&path("shared"), b"").unwrap();
        open_own(&path("own"), true).unwrap();
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode();
        for name in ["whole", "shared", "own"] {
            assert_eq!(mode(name), mode("plain"), "{name}");
        }
    }
}
