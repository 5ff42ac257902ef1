//! What a model's repository has, and which of its files a model is read from.

use std::path::Path;

use serde::Deserialize;

use super::download::Client;
use super::error::HubError;
use super::files::{Remote, is_inside};
use super::name::{ModelName, is_plain};
use crate::interop::container::{INDEX, MODEL, shards};

/// Files besides the weights, where they are there: the model and its tokenizer, and how sentences are embedded.
const SMALL: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "adapter_config.json",
    "LICENSE",
];
const ADAPTER: &str = "adapter_model.safetensors";

/// A repository at a commit.
#[derive(Clone, Debug)]
pub struct Repository {
    pub commit: String,
    files: Vec<Remote>,
}

#[derive(Deserialize)]
struct Listed {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Repository {
    /// Asks the hub.
    pub fn of(client: &Client, name: &ModelName) -> Result<Self, HubError> {
        let url = format!("/api/models/{}/{}/revision/{}?blobs=true", name.org, name.name, name.revision);
        let text = client.text(name, &url)?;
        let bad = |what: String| HubError::NotUnderstood { url: client.address(&url), what };
        let listed: Listed = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if !is_plain(&listed.sha) {
            return Err(bad(format!("sha is {:?}", listed.sha)));
        }
        let remote = |Sibling { rfilename, size, blob_id, lfs }: Sibling| {
            let (large, length) = lfs.map_or((None, None), |lfs| (lfs.sha256, lfs.size));
            Remote { name: rfilename, size: size.or(length), hash: large.or(blob_id) }
        };
        let files: Vec<_> = listed.siblings.into_iter().map(remote).collect();
        if let Some(Remote { name, .. }) = files.iter().find(|file| !is_inside(&file.name)) {
            return Err(bad(format!("a file is called {name:?}")));
        }
        if let Some(Remote { hash, .. }) = files.iter().find(|file| !file.has_plain_hash()) {
            return Err(bad(format!("a hash is {hash:?}")));
        }
        Ok(Self { commit: listed.sha, files })
    }

    fn find(&self, name: &str) -> Option<&Remote> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Files besides the weights.
    pub fn small(&self) -> Vec<Remote> {
        SMALL.iter().filter_map(|name| self.find(name)).cloned().collect()
    }

    /// What lists the weights' files, where there are several.
    pub fn index(&self) -> Option<&Remote> {
        self.find(INDEX).filter(|_| self.find(MODEL).is_none())
    }

    /// The file of this name, or the files that `index` lists, or the only one that weights can be in.
    pub fn weights(
        &self,
        name: &ModelName,
        asked: Option<&str>,
        index: Option<&Path>,
    ) -> Result<Vec<Remote>, HubError> {
        let named = |file: &str| {
            let missing = || {
                let files = self.files.iter().map(|file| file.name.clone()).collect();
                HubError::NoFile { name: Box::new(name.clone()), file: file.to_owned(), files }
            };
            self.find(file).cloned().ok_or_else(missing)
        };
        if let Some(file) = asked {
            return Ok(vec![named(file)?]);
        }
        if let Some(index) = index {
            let bad = |what: String| HubError::NotUnderstood { url: index.display().to_string(), what };
            let shards = shards(index).map_err(|error| bad(error.to_string()))?;
            return shards.iter().map(|file| named(file)).collect();
        }
        if let Some(whole) = self.find(MODEL).or_else(|| self.find(ADAPTER)) {
            return Ok(vec![whole.clone()]);
        }
        let ends = |file: &&Remote, ends: &str| file.name.ends_with(ends);
        let mut ggufs: Vec<_> = self.files.iter().filter(|file| ends(file, ".gguf")).cloned().collect();
        match ggufs.len() {
            1 => Ok(ggufs),
            0 => {
                let others: Vec<_> = self.files.iter().map(|file| file.name.as_str()).collect();
                Err(HubError::NoWeights { name: Box::new(name.clone()), found: others.join(", ") })
            }
            _ => {
                ggufs.sort_by_key(|file| file.size);
                let size = |size: u64| format!(" ({:.2} GB)", size as f64 / 1e9);
                let shown = |file: Remote| file.name + &file.size.map_or(String::new(), size);
                Err(HubError::Several {
                    name: Box::new(name.clone()),
                    files: ggufs.into_iter().map(shown).collect(),
                })
            }
        }
    }
}
