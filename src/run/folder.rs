//! The folder of a run: all files that training writes.
//!
//! | file | holds |
//! |---|---|
//! | `config.toml` | every setting; `--config` takes it |
//! | `origin.toml` | the data, and what else the run was made of, with hashes |
//! | `finetune.toml` | the stage of a fine-tuning run |
//! | `config.json`, `model.safetensors`, `tokenizer.json` | the model; if it has GPT-2's form, as `transformers` loads it |
//! | `adapter/` | of low-rank adapters of a published model, these alone, as PEFT reads them |
//! | `state.safetensors` | the checkpoint that `--resume` continues from |
//! | `metrics.jsonl` | a line per step and per evaluation |
//! | `samples.txt` | text that the model generated during training |
//! | `loss.svg` | the loss over the steps |
//! | `reward.svg` | of a policy, the rewards of its replies |
//! | `tuning.json` | on a GPU, the kernels that autotuning chose |
//! | `run.lock` | the process id, while it runs |
//!
//! `config.toml` is written after all others that describe the run: where it is, the run can be continued, from its
//! first step if there is no checkpoint yet; where it is not, there is no run, and a new one may begin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::STATE;
use super::config::TrainConfig;
use super::config_error::ConfigError;
use super::journal::{METRICS, SAMPLES};
use super::lock::{Lock, LockError};
use super::model_file::{self, CONFIG, MODEL, ModelError};
use super::origin::ORIGIN;
use super::settings::Settings;
use crate::files::{FileError, remove, write_whole};
use crate::models::config::ModelConfig;
use crate::text::tokenizer::{FILES as TOKENIZER, Tokenizer, TokenizerError};

pub const SETTINGS: &str = "config.toml";
pub const STAGE: &str = "finetune.toml";
/// Where the description of the adapters alone is; their weights are with it.
pub const ADAPTER_CONFIG: &str = "adapter/adapter_config.json";
pub const TUNING: &str = "tuning.json";
pub const PLOT: &str = "loss.svg";
pub const REWARD_PLOT: &str = "reward.svg";

/// Written before [`SETTINGS`]: without it, what is left of a run that died before its first step.
const BEFORE: [&str; 7] = [CONFIG, ORIGIN, STAGE, TUNING, ADAPTER_CONFIG, TOKENIZER[0], TOKENIZER[1]];
/// Files that show that there is a run, or something else that must not be overwritten.
const RUN: [&str; 7] = [SETTINGS, STATE, MODEL, METRICS, SAMPLES, PLOT, REWARD_PLOT];

/// The folder of a run; one that can be written to is locked as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Option<Lock>,
}

/// Why a folder cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "in {folder}, config.toml has {key} = {settings} and config.json {described}: write back what it was, or start \
         a new run with --config"
    )]
    Edited { folder: PathBuf, key: String, settings: String, described: String },
    #[error("{0} already holds a run: go on with it by --resume {0}, or choose another --out")]
    Taken(PathBuf),
    #[error("{0} already holds {1}, of no run: choose another --out")]
    Used(PathBuf, &'static str),
    #[error("{0} holds no run to resume ({missing} is missing): give the folder that a training wrote", missing = .1)]
    NoRun(PathBuf, &'static str),
}

impl RunFolder {
    /// Makes the folder at `path`, which may exist but holds no run yet.
    ///
    /// # Errors
    /// When it cannot be made, holds a run, or one is about to begin there.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        check_free(path)?;
        fs::create_dir_all(path).map_err(FileError::at("create", path))?;
        let folder = Self::locked(path)?;
        // Another may have begun between the two.
        check_free(path)?;
        for name in BEFORE {
            let rest = path.join(name);
            remove(&rest).map_err(FileError::at("remove", &rest))?;
        }
        Ok(folder)
    }

    /// Makes `runs/<preset>-<data>-<n>` with the first free number from 1.
    pub fn create_numbered(runs: &Path, preset: &str, data: &str) -> Result<Self, FolderError> {
        fs::create_dir_all(runs).map_err(FileError::at("create", runs))?;
        // A path gives its file's name without the extension.
        let data = Path::new(data).file_stem().map_or("data".into(), |stem| stem.to_string_lossy());
        let mut number = 1;
        loop {
            let path = runs.join(format!("{preset}-{data}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Self::locked(&path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(FileError { doing: "create", path, source }.into()),
            }
        }
    }

    /// Opens the folder of a run to continue it.
    ///
    /// # Errors
    /// When it holds no run, or another process writes to it.
    pub fn resume(path: &Path) -> Result<Self, FolderError> {
        Self::open(path)?;
        Self::locked(path)
    }

    /// Opens the folder of a run to be read.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        match [SETTINGS, CONFIG].into_iter().find(|name| !path.join(name).is_file()) {
            Some(missing) => Err(FolderError::NoRun(path.to_owned(), missing)),
            None => Ok(Self { path: path.to_owned(), _lock: None }),
        }
    }

    fn locked(path: &Path) -> Result<Self, FolderError> {
        let lock = Lock::take(path)?;
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the run has saved its first checkpoint.
    pub fn has_checkpoint(&self) -> bool {
        self.path.join(STATE).is_file()
    }

    /// Writes what stays the same throughout a run: settings, sizes, tokenizer.
    pub fn describe(
        &self,
        config: &TrainConfig,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<(), FolderError> {
        tokenizer.save(&self.path)?;
        let json = model_file::config_json(model, tokenizer);
        write_whole(&self.path.join(CONFIG), json.as_bytes())?;
        self.record(config)
    }

    /// Checks that the settings still make the model that the folder describes.
    pub fn check_model(&self, model: &ModelConfig) -> Result<(), FolderError> {
        let (described, _) = model_file::read_config(&self.path)?;
        let mut differences = Settings::of_model(model).differences(&Settings::of_model(&described))?;
        match differences.pop() {
            None => Ok(()),
            Some((key, settings, described)) => {
                Err(FolderError::Edited { folder: self.path.clone(), key, settings, described })
            }
        }
    }

    /// Writes the settings, and clears away what a killed process left half written.
    pub fn record(&self, config: &TrainConfig) -> Result<(), FolderError> {
        write_whole(&self.path.join(SETTINGS), config.to_toml().as_bytes())?;
        for name in BEFORE.iter().chain(&RUN) {
            let half = self.path.join(format!("{name}.partial"));
            remove(&half).map_err(FileError::at("remove", &half))?;
        }
        Ok(())
    }

    /// The settings of the run; as [`Settings`], so that others can be laid over them.
    pub fn settings(&self) -> Result<Settings, FolderError> {
        Ok(Settings::from_file(&self.path.join(SETTINGS))?)
    }

    /// Writes a picture of this name.
    pub fn write_plot(&self, name: &str, svg: &str) -> Result<(), FolderError> {
        Ok(write_whole(&self.path.join(name), svg.as_bytes())?)
    }
}

/// Checks that there is no run at `path`, and no model of another program.
fn check_free(path: &Path) -> Result<(), FolderError> {
    if [SETTINGS, STATE].iter().any(|name| path.join(name).exists()) {
        return Err(FolderError::Taken(path.to_owned()));
    }
    if let Some(name) = RUN.into_iter().find(|name| path.join(name).exists()) {
        return Err(FolderError::Used(path.to_owned(), name));
    }
    let is_ours = || model_file::read_config(path).is_ok_and(|(_, mark)| mark.is_some());
    if path.join(CONFIG).exists() && !is_ours() {
        return Err(FolderError::Used(path.to_owned(), CONFIG));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
