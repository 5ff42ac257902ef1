//! `lal pull`: brings a model's files into the cache.

use std::path::PathBuf;

use super::Hub;
use super::download::Client;
use super::error::HubError;
use super::files::Remote;
use super::name::ModelName;
use super::repository::Repository;

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    pub file: &'a str,
    /// Of all files.
    pub bytes: u64,
    /// `None` where the hub does not say.
    pub total: Option<u64>,
}

impl Hub {
    /// Downloads the files that a model is read from, but for those that are there, and returns where the model is: the
    /// folder of the snapshot, or the `.gguf` file. `file` names one of several.
    ///
    /// # Errors
    /// When the hub cannot be reached, does not have the model or does not give it away, what comes is not what it
    /// says, or the disk fails. What was downloaded is kept, and a second call goes on from there.
    pub fn pull(
        &self,
        name: &ModelName,
        file: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, HubError> {
        if self.offline {
            let (cache, models) = (self.cache.clone(), self.models());
            return Err(HubError::Offline { name: Box::new(name.clone()), cache, models });
        }
        let client = Client::new(self);
        let repository = Repository::of(&client, name)?;
        let (cached, commit) = (self.cached(name), repository.commit.as_str());
        let mut fetch = |remote: &Remote, before: u64, total: Option<u64>| {
            let mut tell = |bytes: u64, size: Option<u64>| {
                progress(Progress { file: &remote.name, bytes: before + bytes, total: total.or(size) });
            };
            let hash = client.file(&cached, (name, commit), remote, &mut tell)?;
            cached.link(commit, &remote.name, &hash)
        };
        let mut files = repository.small();
        let mut index = None;
        if let Some(remote) = repository.index().filter(|_| file.is_none()) {
            fetch(remote, 0, None)?;
            index = Some(cached.snapshot(commit).join(&remote.name));
        }
        // Small files first: without them the weights are of no use.
        files.extend(repository.weights(name, file, index.as_deref())?);
        let total = files.iter().map(|file| file.size).sum::<Option<u64>>();
        let mut before = 0;
        for remote in &files {
            fetch(remote, before, total)?;
            before += remote.size.unwrap_or(0);
        }
        cached.note(&name.revision, commit)?;
        let snapshot = cached.snapshot(commit);
        Ok(match file {
            Some(file) => snapshot.join(file),
            None => self.find(name).unwrap_or(snapshot),
        })
    }
}
