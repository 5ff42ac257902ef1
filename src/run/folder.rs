//! The folder of a run: where everything that a training leaves behind lies.
//!
//! | file | holds |
//! |---|---|
//! | `config.toml` | every setting; `--config` takes it |
//! | `config.json`, `model.safetensors`, `tokenizer.json` | the model; if it has GPT-2's form, as `transformers` loads it |
//! | `state.safetensors` | what `--resume` goes on from |
//! | `metrics.jsonl` | a line per step and per estimate of the loss |
//! | `samples.txt` | text that the model wrote on the way |
//! | `loss.svg` | the loss over the steps |
//! | `reward.svg` | of a policy, what its replies were worth |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::aside::{FileError, write_whole};
use super::checkpoint::STATE;
use super::config::{ConfigError, TrainConfig};
use super::model_file::{self, CONFIG};
use super::settings::Settings;
use crate::models::config::ModelConfig;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

pub const SETTINGS: &str = "config.toml";
pub const PLOT: &str = "loss.svg";
pub const REWARD_PLOT: &str = "reward.svg";

/// The folder of a run that can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// Why a folder cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("{0} already holds a run: go on with it by --resume {0}, or choose another --out")]
    Taken(PathBuf),
    #[error("{0} holds no run to resume ({missing} is missing): give the folder that a training wrote", missing = .1)]
    NoRun(PathBuf, &'static str),
}

impl RunFolder {
    /// Makes the folder at `path`, which may exist but holds no run yet.
    ///
    /// # Errors
    /// When it cannot be made, or holds a run.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        if path.join(SETTINGS).exists() || path.join(STATE).exists() {
            return Err(FolderError::Taken(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(FileError::at("create", path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Makes `runs/<preset>-<data>-<n>` with the first free number from 1.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_numbered(runs: &Path, preset: &str, data: &str) -> Result<Self, FolderError> {
        fs::create_dir_all(runs).map_err(FileError::at("create", runs))?;
        // A path gives its file's name without the extension.
        let data = Path::new(data).file_stem().map_or("data".into(), |stem| stem.to_string_lossy());
        let mut number = 1;
        loop {
            let path = runs.join(format!("{preset}-{data}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(FileError { doing: "create", path, source }.into()),
            }
        }
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// When it holds no run, or none that has saved a checkpoint yet.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        match [SETTINGS, CONFIG, STATE].into_iter().find(|name| !path.join(name).is_file()) {
            Some(missing) => Err(FolderError::NoRun(path.to_owned(), missing)),
            None => Ok(Self { path: path.to_owned() }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what stays the same throughout a run: settings, sizes, tokenizer.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn describe(
        &self,
        config: &TrainConfig,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<(), FolderError> {
        tokenizer.save(&self.path)?;
        let json = model_file::config_json(model, tokenizer);
        write_whole(&self.path.join(CONFIG), json.as_bytes())?;
        write_whole(&self.path.join(SETTINGS), config.to_toml().as_bytes())?;
        Ok(())
    }

    /// The settings of the run; as [`Settings`], so that others can be laid over them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings(&self) -> Result<Settings, FolderError> {
        Ok(Settings::from_file(&self.path.join(SETTINGS))?)
    }

    /// Writes a picture of this name.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write_plot(&self, name: &str, svg: &str) -> Result<(), FolderError> {
        Ok(write_whole(&self.path.join(name), svg.as_bytes())?)
    }
}

#[cfg(test)]
mod tests;
