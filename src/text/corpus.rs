//! Finding a text to learn from: by path, by name, on disk, on the network, or generated.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::dataset::{DatasetError, read_text, text_bytes};
use super::tales::Tales;
use crate::files::{self, FileError, hexadecimal, write_shared};

/// The corpus used when none is named.
pub const DEFAULT: &str = "tinyshakespeare";
/// The name of the built-in [Tales world](super::tales).
pub const TALES: &str = "tales";

/// The seed and the least number of characters of the Tales corpus: more than a small model can memorise.
pub const TALES_SEED: u64 = 1337;
pub const TALES_CHARS: usize = 4_000_000;

/// A corpus that can be downloaded, as `data/corpora.toml` describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub name: String,
    pub url: String,
    /// What the file is called in a data folder.
    pub file: String,
    pub bytes: u64,
    /// Of the file, in lower-case hexadecimal.
    pub sha256: String,
    pub licence: String,
}

/// A text, and where it is from.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// A known name, or the path.
    pub name: String,
    pub text: String,
    pub source: Source,
}

/// Where a text is from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The file the user named.
    Own(PathBuf),
    /// A known corpus in a data folder or the cache; its checksum was right.
    Found(PathBuf),
    /// Downloaded just now to this path, or kept in memory only if there is no cache to write to.
    Downloaded(Option<PathBuf>),
    /// The Tales world.
    Tales {
        /// The exact least `val_loss`, in nats per character.
        floor: f64,
        /// Why the default corpus could not be downloaded; `None` if Tales were asked for.
        instead: Option<String>,
    },
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    pub total: u64,
}

/// Where to look; the library itself reads no environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The folder the user keeps data in (`LAL_DATA_DIR`).
    pub data_dir: Option<&'a Path>,
    /// Where downloads are kept (see [`cache_dir`]).
    pub cache_dir: Option<&'a Path>,
}

/// Why no text was found, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error(transparent)]
    Text(#[from] DatasetError),
    #[error("{data:?} is neither a file nor a known corpus: give the path of a text, or one of {}", names().join(", "))]
    Unknown { data: String },
    #[error(
        "{path} is not {name}: {found}, where {bytes} bytes with SHA-256 {sha256} are expected; delete or replace \
         it, or name it with --data to use it as a text of your own"
    )]
    NotTheFile { path: PathBuf, name: String, found: String, bytes: u64, sha256: String },
    #[error(
        "cannot download {name} from {url} ({reason}): try again online, or use --data tales, which needs no network"
    )]
    Download { name: String, url: String, reason: String },
}

/// All corpora that can be downloaded.
pub fn known() -> &'static [Known] {
    #[derive(Deserialize)]
    struct Manifest {
        corpus: Vec<Known>,
    }
    static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
        let manifest: Result<Manifest, _> = toml::from_str(include_str!("../../data/corpora.toml"));
        // The text is part of the program, and a test reads it.
        manifest.expect("the corpus manifest is well formed").corpus
    });
    &KNOWN
}

/// Every name `--data` takes.
pub fn names() -> Vec<&'static str> {
    known().iter().map(|known| known.name.as_str()).chain([TALES]).collect()
}

/// The text to learn from.
///
/// `data` is a known name or the path of a file; without it, it is [`DEFAULT`]. A known corpus is looked
/// for in `places.data_dir`, then in `places.cache_dir`, then downloaded into the cache, with `progress`
/// called as bytes arrive. If that fails and `data` named nothing, it is the Tales world instead, and the
/// [`Source`] says why. A file with a wrong checksum is always an error, never skipped.
pub fn locate(
    data: Option<&str>,
    places: Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Corpus, CorpusError> {
    if data == Some(TALES) {
        return Ok(tales(None));
    }
    let name = data.unwrap_or(DEFAULT);
    let Some(known) = known().iter().find(|known| known.name == name) else {
        return own(name);
    };
    for folder in [places.data_dir, places.cache_dir].into_iter().flatten() {
        let path = folder.join(&known.file);
        if path.exists() {
            let text = checked(known, &path)?;
            return Ok(Corpus { name: name.to_owned(), text, source: Source::Found(path) });
        }
    }
    match download(known, progress) {
        Ok(text) => {
            // The text is good whether or not it can be kept.
            let kept = places.cache_dir.and_then(|folder| keep(&text, folder, &known.file).ok());
            Ok(Corpus { name: name.to_owned(), text, source: Source::Downloaded(kept) })
        }
        Err(CorpusError::Download { reason, .. }) if data.is_none() => Ok(tales(Some(reason))),
        Err(error) => Err(error),
    }
}

/// The folder the system keeps a program's caches in, with `lal` in it; `None` where there is no home.
pub fn cache_dir() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    etcetera::choose_base_strategy().ok().map(|base| base.cache_dir().join("lal"))
}

fn tales(instead: Option<String>) -> Corpus {
    let corpus = Tales::new().corpus(TALES_SEED, TALES_CHARS);
    let source = Source::Tales { floor: corpus.val_nats_per_char(), instead };
    Corpus { name: TALES.to_owned(), text: corpus.text, source }
}

fn own(data: &str) -> Result<Corpus, CorpusError> {
    let path = PathBuf::from(data);
    // A bare word is more likely a misspelt name than a missing file.
    if !path.exists() && path.components().count() == 1 && path.extension().is_none() {
        return Err(CorpusError::Unknown { data: data.to_owned() });
    }
    Ok(Corpus { name: data.to_owned(), text: read_text(&path)?, source: Source::Own(path) })
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What is wrong with `bytes` as the file `known`; `None` if nothing is.
fn mismatch(known: &Known, bytes: &[u8]) -> Option<String> {
    let found = sha256(bytes);
    (bytes.len() as u64 != known.bytes || found != known.sha256)
        .then(|| format!("it has {} bytes with SHA-256 {found}", bytes.len()))
}

fn checked(known: &Known, path: &Path) -> Result<String, CorpusError> {
    let bytes = files::read(path, text_bytes())
        .map_err(|source| DatasetError::Unreadable { path: path.to_owned(), source })?;
    if let Some(found) = mismatch(known, &bytes) {
        let Known { name, bytes, sha256, .. } = known.clone();
        return Err(CorpusError::NotTheFile { path: path.to_owned(), name, found, bytes, sha256 });
    }
    let not_utf8 = |error: std::string::FromUtf8Error| DatasetError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    };
    Ok(String::from_utf8(bytes).map_err(not_utf8)?)
}

/// Without a network this gives up within 10 s; once bytes arrive they may take their time.
fn download(known: &Known, progress: &mut dyn FnMut(Progress)) -> Result<String, CorpusError> {
    let failed = |reason: String| {
        let (name, url) = (known.name.clone(), known.url.clone());
        CorpusError::Download { name, url, reason }
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(2)))
        .timeout_connect(Some(Duration::from_secs(4)))
        .timeout_send_request(Some(Duration::from_secs(1)))
        .timeout_recv_response(Some(Duration::from_secs(3)))
        .timeout_recv_body(Some(Duration::from_secs(300)))
        // The addresses of the manifest are final; a redirect would start the clock again.
        .max_redirects(0)
        .build()
        .into();
    let response = agent.get(&known.url).call().map_err(|error| failed(error.to_string()))?;
    let mut body = response.into_body().into_reader();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    // One byte too many is enough to know that it is another file.
    while bytes.len() as u64 <= known.bytes {
        let count = body.read(&mut buffer).map_err(|error| failed(error.to_string()))?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..count]);
        progress(Progress { bytes: bytes.len() as u64, total: known.bytes });
    }
    if let Some(found) = mismatch(known, &bytes) {
        return Err(failed(format!("what came is not the file: {found}")));
    }
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// Writes a text whole or not at all, into a folder that is made if it is missing.
pub fn keep(text: &str, folder: &Path, file: &str) -> Result<PathBuf, FileError> {
    let path = folder.join(file);
    write_shared(&path, text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    fn no_progress() -> impl FnMut(Progress) {
        |_| {}
    }

    /// A corpus of five bytes ("hello", whose SHA-256 is widely published) served by this test.
    fn hello(url: String) -> Known {
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned();
        Known {
            name: "hello".into(),
            url,
            file: "hello.txt".into(),
            bytes: 5,
            sha256,
            licence: "none".into(),
        }
    }

    /// Answers one request with `body`, and says where.
    fn serve(body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hello.txt", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        url
    }

    #[test]
    fn a_download_is_checked_and_reports_its_progress() {
        let mut seen = Vec::new();
        let text = download(&hello(serve("hello")), &mut |progress| seen.push(progress)).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(seen.last(), Some(&Progress { bytes: 5, total: 5 }));
        for wrong in ["hullo", "hell", "hello, and more"] {
            let error = download(&hello(serve(wrong)), &mut no_progress()).unwrap_err().to_string();
            assert!(error.contains("not the file") && error.contains("--data tales"), "{error}");
        }
    }

    #[test]
    fn a_refused_connection_is_an_error_that_names_a_way_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = download(&hello(url), &mut no_progress()).unwrap_err().to_string();
        assert!(error.contains("hello") && error.contains("--data tales"), "{error}");
    }

    #[test]
    fn a_wrong_file_is_reported_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tinyshakespeare.txt"), "To be, or not").unwrap();
        let places = Places { data_dir: Some(folder.path()), cache_dir: None };
        for data in [None, Some(DEFAULT)] {
            let error = locate(data, places, &mut no_progress()).unwrap_err().to_string();
            assert!(error.contains("13 bytes") && error.contains("1115394 bytes"), "{error}");
        }
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = keep("hello", &folder.path().join("new"), "hello.txt").unwrap();
        assert_eq!(checked(&hello(String::new()), &path).unwrap(), "hello");
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn own_texts_are_read_and_misspelt_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.txt");
        std::fs::write(&path, "my own text").unwrap();
        let found = locate(path.to_str(), Places::default(), &mut no_progress()).unwrap();
        assert_eq!((found.text.as_str(), found.source), ("my own text", Source::Own(path)));
        let error = |data| locate(Some(data), Places::default(), &mut no_progress()).unwrap_err().to_string();
        assert!(error("tinyshakespear").contains("tinyshakespeare, tales"));
        assert!(error("no/such.txt").contains("no/such.txt"));
    }

    #[test]
    fn tales_have_a_floor() {
        let found = locate(Some(TALES), Places::default(), &mut no_progress()).unwrap();
        let Source::Tales { floor, instead: None } = found.source else { panic!("{:?}", found.source) };
        assert!(floor > 0.05 && floor < 0.5, "{floor}");
        assert!(found.text.len() >= TALES_CHARS);
    }

    #[test]
    fn tiny_shakespeare_is_found_where_the_user_keeps_it() {
        let Some(folder) = std::env::var_os("LAL_DATA_DIR") else { return };
        let places = Places { data_dir: Some(Path::new(&folder)), cache_dir: None };
        if !Path::new(&folder).join("tinyshakespeare.txt").exists() {
            return;
        }
        let found = locate(None, places, &mut no_progress()).unwrap();
        assert!(found.text.starts_with("First Citizen:\n") && matches!(found.source, Source::Found(_)));
    }
}
