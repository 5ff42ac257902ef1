//! `finetune.toml` in the folder of a run: which stage of fine-tuning it is, and what that adds to the settings.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lora::{LoraConfig, LoraError};
use super::stage::Setup;
use super::stages::Method;
use crate::files::{FileError, SETTINGS_BYTES, read_to_string, write_whole};
use crate::interop::peft::export::config_json;
use crate::interop::peft::modules::Modules;
use crate::models::config::ModelConfig;
use crate::nn::lora::Lora;
use crate::run::checkpoint::ADAPTER;
use crate::run::folder::ADAPTER_CONFIG;
pub use crate::run::folder::STAGE;

/// What a stage must know to be resumed, besides its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The model that it began with.
    pub model: PathBuf,
    /// The adapter that was merged into it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// The rank of its adapters; 0 where every weight is trained.
    pub lora_rank: usize,
    /// Of a run of an older version there is none: each matrix has an adapter then, with α twice the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    pub method: Method,
}

/// Why a folder does not say which stage it is.
#[derive(Debug, thiserror::Error)]
pub enum StageConfigError {
    #[error("{0} is no run of fine-tuning: it has no {STAGE}; continue a pretraining with train --resume")]
    None(PathBuf),
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} does not describe a stage of fine-tuning: {source}")]
    Bad { path: PathBuf, source: Box<toml::de::Error> },
}

impl StageConfig {
    /// The adapter to begin with, and whose names its layers have.
    pub fn init(&self) -> Result<Option<(PathBuf, Modules)>, LoraError> {
        let Some(lora) = &self.lora else { return Ok(None) };
        let modules = lora.modules()?;
        Ok(lora.init.clone().map(|folder| (folder, modules)))
    }

    /// Writes what describes the adapters of a run that writes them alone.
    pub fn describe_adapter(&self, setup: &Setup, folder: &Path) -> Result<(), FileError> {
        let (Some(modules), Some(lora)) = (setup.exports, &self.lora) else { return Ok(()) };
        let base = self.model.display().to_string();
        let (folder, file) = (folder.join(ADAPTER), folder.join(ADAPTER_CONFIG));
        create_dir_all(&folder).map_err(FileError::at("create", &folder))?;
        write_whole(&file, config_json(&setup.model, modules, lora.alpha, &base).as_bytes())
    }

    /// The adapters of the run's model.
    pub fn lora(&self, model: &ModelConfig) -> Result<Lora, LoraError> {
        match &self.lora {
            Some(lora) if self.lora_rank > 0 => lora.lora(self.lora_rank, model),
            _ => Ok(Lora::of_rank(self.lora_rank)),
        }
    }

    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("words, paths and numbers under fixed keys");
        write_whole(&folder.join(STAGE), text.as_bytes())
    }

    pub fn read(folder: &Path) -> Result<Self, StageConfigError> {
        let path = folder.join(STAGE);
        if !path.is_file() {
            return Err(StageConfigError::None(folder.to_owned()));
        }
        let text = read_to_string(&path, SETTINGS_BYTES)
            .map_err(|source| StageConfigError::Unreadable { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|source| StageConfigError::Bad { path, source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::ppo_options::PpoOptions;
    use crate::finetune::stages::dpo::DpoOptions;
    use crate::finetune::stages::reward::RewardOptions;
    use crate::finetune::stages::sft::SftOptions;
    use crate::objective::preference::PreferenceLoss;

    #[test]
    fn a_stage_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let none = StageConfig::read(folder.path()).unwrap_err().to_string();
        assert!(none.contains(STAGE) && none.contains("train --resume"), "{none}");
        let dpo = DpoOptions { loss: PreferenceLoss::Ipo, beta: 0.25, label_smoothing: 0.0, sft_weight: 0.5 };
        let reward = RewardOptions { sft_weight: 0.25 };
        let lora = LoraConfig {
            alpha: 16.0,
            dropout: 0.1,
            targets: vec!["q_proj".into(), "o_proj".into()],
            names: "llama".into(),
            init: None,
        };
        for method in [
            Method::Sft(SftOptions {}),
            Method::Reward(reward),
            Method::Dpo(dpo),
            Method::Ppo(PpoOptions::default()),
        ] {
            let stage = StageConfig {
                model: "runs/a \"b\"".into(),
                adapter: Some("adapter".into()),
                lora_rank: 4,
                lora: Some(lora.clone()),
                method,
            };
            stage.write(folder.path()).unwrap();
            assert_eq!(StageConfig::read(folder.path()).unwrap(), stage);
        }
        std::fs::write(folder.path().join(STAGE), "model = 'a'\nlora_rank = 1\nmethod.kind = \"dance\"")
            .unwrap();
        let bad = StageConfig::read(folder.path()).unwrap_err().to_string();
        assert!(bad.contains(STAGE) && bad.contains("dance"), "{bad}");
    }
}
