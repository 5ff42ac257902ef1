//! The cache of the hub on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::Hub;
use super::error::HubError;
use super::name::{ModelName, is_plain};
use crate::interop::container::{INDEX, MODEL, shards};

/// The folder of one model in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    folder: PathBuf,
}

impl Hub {
    pub(super) fn cached(&self, name: &ModelName) -> Cached {
        Cached { folder: self.cache.join(format!("models--{}--{}", name.org, name.name)) }
    }

    /// The folder, or the only `.gguf` file, of a model that is in the cache, whole.
    pub fn find(&self, name: &ModelName) -> Option<PathBuf> {
        let cached = self.cached(name);
        usable(&cached.snapshot(&cached.commit(&name.revision)?))
    }

    /// All models that are in the cache, whole.
    pub fn models(&self) -> Vec<ModelName> {
        let folders = fs::read_dir(&self.cache).into_iter().flatten().flatten();
        let name = |folder: fs::DirEntry| {
            let name = folder.file_name().into_string().ok()?;
            let (org, name) = name.strip_prefix("models--")?.split_once("--")?;
            format!("{org}/{name}").parse().ok()
        };
        let mut models: Vec<_> = folders.filter_map(name).filter(|name| self.find(name).is_some()).collect();
        models.sort();
        models
    }
}

impl Cached {
    /// The commit that a revision was when it was last downloaded.
    fn commit(&self, revision: &str) -> Option<String> {
        let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_plain(commit))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// Gives a blob its name in a snapshot.
    pub fn link(&self, commit: &str, file: &str, hash: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        let at = HubError::at("write", &path);
        let attempt = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            if fs::symlink_metadata(&path).is_ok() {
                fs::remove_file(&path)?;
            }
            link(&self.blob(hash), &path, Path::new(file).components().count())
        };
        attempt().map_err(at)
    }

    /// Notes which commit a revision is, once all of its files are there.
    pub fn note(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.folder.join("refs").join(revision);
        crate::files::write_shared(&path, commit.as_bytes())
            .map_err(|error| HubError::at("write", &path)(error.source))
    }
}

/// A relative link, so that the cache can be moved.
#[cfg(unix)]
fn link(blob: &Path, path: &Path, depth: usize) -> std::io::Result<()> {
    let mut target: PathBuf = ["..", ".."].iter().collect();
    (1..depth).for_each(|_| target = Path::new("..").join(&target));
    let hash = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(target.join("blobs").join(hash), path)
}

/// Links need a privilege elsewhere.
#[cfg(not(unix))]
fn link(blob: &Path, path: &Path, _depth: usize) -> std::io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
}

/// What of a snapshot a model can be read from: its folder if that has all weights, or its only `.gguf` file.
fn usable(snapshot: &Path) -> Option<PathBuf> {
    let whole = snapshot.join(MODEL).is_file();
    let sharded = || {
        let index = snapshot.join(INDEX);
        shards(&index).is_ok_and(|names| names.iter().all(|name| snapshot.join(name).is_file()))
    };
    if snapshot.join("config.json").is_file() && (whole || sharded()) {
        return Some(snapshot.to_owned());
    }
    let files = fs::read_dir(snapshot).into_iter().flatten().flatten().map(|file| file.path());
    let mut ggufs = files.filter(|path| path.extension().is_some_and(|end| end == "gguf") && path.is_file());
    ggufs.next().filter(|_| ggufs.next().is_none())
}
