//! Reading regular files: a pipe waits for a writer, and a device may never end.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::FileError;

/// A mark that some editors put at the start of a text; it is not part of the text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// The most bytes of a file of settings.
pub const SETTINGS_BYTES: u64 = 1 << 24;

/// Opens a regular file for reading.
///
/// # Errors
/// When there is no such file, or it is a folder, a pipe or a device; the error says which.
pub fn open(path: &Path) -> io::Result<File> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        let what = format!("it is {}, and only a regular file can be read", what(&found));
        return Err(io::Error::new(ErrorKind::InvalidInput, what));
    }
    File::open(path)
}

/// Opens a regular file of no more than `most` bytes for reading.
pub fn open_within(path: &Path, most: u64) -> io::Result<File> {
    let file = open(path)?;
    if file.metadata()?.len() > most { Err(too_long(most)) } else { Ok(file) }
}

/// Fills `into` from the byte `at` of a file on, wherever others read it.
pub fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, into, at);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < into.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut into[done..], at + done as u64)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(())
    }
}

fn too_long(most: u64) -> io::Error {
    let what = format!("it has more than the {} MiB that there is room for", most >> 20);
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The bytes of a regular file of no more than `most`, without the mark (U+FEFF) that some editors begin a text with.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_within(path, most)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize);
    // Some files do not know how long they are.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_long(most));
    }
    let mut mark = [0; 3];
    let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark);
    if bytes.starts_with(mark.as_bytes()) {
        bytes.drain(..mark.len());
    }
    Ok(bytes)
}

/// The text of a regular file of no more than `most` bytes.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("it is no text ({error})")))
}

/// The bytes of a file, or of one that a link leads to; `None` where there is none, or something that has no end.
pub fn read_any(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::read(path).map(Some).map_err(FileError::at("read", path)),
        _ => Ok(None),
    }
}

#[cfg(unix)]
fn what(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () if kind.is_socket() => "a socket",
        () => "none",
    }
}

#[cfg(not(unix))]
fn what(found: &Metadata) -> &'static str {
    if found.is_dir() { "a folder" } else { "none" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("five");
        fs::write(&path, "hello").unwrap();
        assert_eq!(read_to_string(&path, 5).unwrap(), "hello");
        assert!(read(&path, 4).unwrap_err().to_string().contains("more than"));
        // Sparse: a terabyte that takes no space, and must take no memory.
        File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path, 1 << 30).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn a_file_is_read_at_a_place_and_not_beyond_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("five");
        fs::write(&path, "hello").unwrap();
        let file = open(&path).unwrap();
        let mut two = [0; 2];
        read_at(&file, 3, &mut two).unwrap();
        assert_eq!(&two, b"lo");
        assert_eq!(read_at(&file, 4, &mut two).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, told) in
            [(pipe.as_path(), "a pipe"), (folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")]
        {
            let error = read(path, 100).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// `/proc` gives files of length 0 that are not empty.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_does_not_know_its_length_is_read_up_to_a_length_too() {
        assert!(read(Path::new("/proc/self/status"), 10).unwrap_err().to_string().contains("more than"));
    }
}
