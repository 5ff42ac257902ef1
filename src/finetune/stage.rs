//! `finetune.toml` in the folder of a run: which stage of fine-tuning it is, and what that adds to the settings.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::run::aside::{FileError, write_whole};

pub const STAGE: &str = "finetune.toml";

/// What a stage must know to be continued, beside its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub kind: Kind,
    /// The model that it began with.
    pub model: PathBuf,
    /// The rank of its adapters; 0 where every weight is trained.
    pub lora_rank: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Sft,
}

/// Why a folder does not say which stage it is.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("{0} is no run of fine-tuning: it has no {STAGE}; continue a pretraining with train --resume")]
    None(PathBuf),
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} does not describe a stage of fine-tuning: {source}")]
    Bad { path: PathBuf, source: Box<toml::de::Error> },
}

impl Stage {
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("a word, a path and a number under fixed keys");
        write_whole(&folder.join(STAGE), text.as_bytes())
    }

    /// # Errors
    /// When the folder has none, or it cannot be read.
    pub fn read(folder: &Path) -> Result<Self, StageError> {
        let path = folder.join(STAGE);
        if !path.exists() {
            return Err(StageError::None(folder.to_owned()));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|source| StageError::Unreadable { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|source| StageError::Bad { path, source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let none = Stage::read(folder.path()).unwrap_err().to_string();
        assert!(none.contains(STAGE) && none.contains("train --resume"), "{none}");
        let stage = Stage { kind: Kind::Sft, model: "runs/a \"b\"".into(), lora_rank: 4 };
        stage.write(folder.path()).unwrap();
        assert_eq!(Stage::read(folder.path()).unwrap(), stage);
        std::fs::write(folder.path().join(STAGE), "kind = \"dance\"").unwrap();
        let bad = Stage::read(folder.path()).unwrap_err().to_string();
        assert!(bad.contains(STAGE) && bad.contains("dance"), "{bad}");
    }
}
