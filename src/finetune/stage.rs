//! `finetune.toml` in the folder of a run: which stage of fine-tuning it is, and what that adds to the settings.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::lessons::TALES_PROMPTS;
use super::policy_options::PolicyOptions;
use crate::files::{FileError, SETTINGS_BYTES, read_to_string, write_whole};
use crate::objective::preference::{Form, Preference};
use crate::objective::reward::Reward;
pub use crate::run::folder::STAGE;
use crate::run::resume::Difference;

/// What a stage must know to be continued, beside its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The model that it began with.
    pub model: PathBuf,
    /// The rank of its adapters; 0 where every weight is trained.
    pub lora_rank: usize,
    pub method: Method,
}

/// How a stage learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Method {
    /// From demonstrations.
    Sft,
    /// To score answers, from pairs of them.
    Reward(RewardOptions),
    /// To prefer the better answer, from pairs of them.
    Dpo(DpoOptions),
    /// From what its own answers are worth.
    Ppo(Box<PolicyOptions>),
    /// From its own answers, by principles.
    Constitution(ConstitutionOptions),
}

/// What principles make of a model's own answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    /// Revisions, which are learned like demonstrations
    #[default]
    Revise,
    /// Preferences among them
    Prefer,
}

/// Who judges by principles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Judging {
    /// The programs that the principles name
    #[default]
    Program,
    /// The model itself, reminded of the principles
    Model,
}

/// How principles are learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct ConstitutionOptions {
    /// A file of principles, in the form of data/constitution.toml [default: that one]
    #[arg(long, value_name = "FILE")]
    pub principles: Option<PathBuf>,
    /// What principles make of the model's own answers
    #[arg(long, value_enum, default_value = "revise", value_name = "KIND")]
    pub feedback: Feedback,
    /// Who judges the model's own answers by them
    #[arg(long, value_enum, default_value = "program", value_name = "WHO")]
    pub judge: Judging,
    /// Questions that the model answers
    #[arg(long, default_value_t = TALES_PROMPTS, value_name = "N")]
    pub questions: usize,
    /// Answers to each of them, to prefer among
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub samples: usize,
    /// How strongly a model that prefers is held to what it was
    #[arg(long, default_value_t = Preference::default().beta, value_name = "X")]
    pub beta: f32,
}

/// How a reward model learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct RewardOptions {
    /// How much the better answer counts as a demonstration too
    #[arg(long, default_value_t = Reward::default().sft_weight, value_name = "X")]
    #[serde(default)]
    pub sft_weight: f32,
}

/// How preferences are learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct DpoOptions {
    /// The shape of the loss
    #[arg(long, value_enum, default_value = "sigmoid", value_name = "FORM")]
    pub loss: Form,
    /// How strongly the model is held to what it was
    #[arg(long, default_value_t = Preference::default().beta, value_name = "X")]
    pub beta: f32,
    /// The share of preferences that are taken to be wrong; for the sigmoid
    #[arg(long, default_value_t = Preference::default().label_smoothing, value_name = "P")]
    pub label_smoothing: f32,
    /// How much the better answer counts as a demonstration too
    #[arg(long, default_value_t = Preference::default().sft_weight, value_name = "X")]
    #[serde(default)]
    pub sft_weight: f32,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Sft => "sft",
            Self::Reward(_) => "reward",
            Self::Dpo(_) => "dpo",
            Self::Ppo(_) => "ppo",
            Self::Constitution(_) => "constitution",
        })
    }
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

impl Method {
    /// The key of the option that names a file or a folder, and what it names: that is known again by its content.
    pub fn named(&mut self) -> Option<(&'static str, &mut PathBuf)> {
        match self {
            Self::Ppo(options) => options.reward.as_mut().map(|path| ("reward", path)),
            Self::Constitution(options) => options.principles.as_mut().map(|path| ("principles", path)),
            _ => None,
        }
    }

    /// Of the options that were `given` with other ones of the same kind, those that differ; not by what they name.
    pub fn differences(&self, asked: &Self, given: &BTreeSet<String>) -> Vec<Difference> {
        let table = |method: &Self| {
            let mut method = method.clone();
            let named = method.named().map(|(key, _)| key);
            (Table::try_from(method).expect("words, paths and numbers under fixed keys"), named)
        };
        let ((has, named), (asked, _)) = (table(self), table(asked));
        let differs = |key: &str, value: &Value| {
            given.contains(key) && named != Some(key) && has.get(key) != Some(value)
        };
        let differing = asked.iter().filter(|(key, value)| differs(key, value));
        differing.map(|(key, value)| Difference::new(key, value, has.get(key))).collect()
    }
}

impl Stage {
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("words, paths and numbers under fixed keys");
        write_whole(&folder.join(STAGE), text.as_bytes())
    }

    /// # Errors
    /// When the folder has none, or it cannot be read.
    pub fn read(folder: &Path) -> Result<Self, StageError> {
        let path = folder.join(STAGE);
        if !path.is_file() {
            return Err(StageError::None(folder.to_owned()));
        }
        let text = read_to_string(&path, SETTINGS_BYTES)
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
        let dpo = DpoOptions { loss: Form::Ipo, beta: 0.25, label_smoothing: 0.0, sft_weight: 0.5 };
        let reward = RewardOptions { sft_weight: 0.25 };
        for method in [Method::Sft, Method::Reward(reward), Method::Dpo(dpo), Method::Ppo(Box::default())] {
            let stage = Stage { model: "runs/a \"b\"".into(), lora_rank: 4, method };
            stage.write(folder.path()).unwrap();
            assert_eq!(Stage::read(folder.path()).unwrap(), stage);
        }
        std::fs::write(folder.path().join(STAGE), "model = 'a'\nlora_rank = 1\nmethod.kind = \"dance\"")
            .unwrap();
        let bad = Stage::read(folder.path()).unwrap_err().to_string();
        assert!(bad.contains(STAGE) && bad.contains("dance"), "{bad}");
    }
}
