//! The low-rank adapters of a stage: what is asked for, and what `finetune.toml` keeps of it.

use std::path::{PathBuf, absolute};

use serde::{Deserialize, Serialize};

use super::base::Base;
use crate::engine::single::is_share;
use crate::interop::peft::adapter::{Adapter, AdapterError};
use crate::interop::peft::modules::{ALL_LINEAR, Modules, UnknownTarget};
use crate::models::config::{ModelConfig, SizeError};
use crate::nn::lora::Lora;
use crate::run::resume::Difference;

/// The flags of adapters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LoraOptions {
    /// Train low-rank adapters of this rank on frozen weights; model.safetensors holds them merged. 0 trains every
    /// weight
    #[arg(long, visible_alias = "lora", env = "LAL_LORA_RANK", value_name = "R")]
    pub lora_rank: Option<usize>,
    /// Scale of adapters: their product is multiplied by A / R [default: twice the rank]
    #[arg(long, env = "LAL_LORA_ALPHA", value_name = "A")]
    pub lora_alpha: Option<f64>,
    /// Layers that get adapters, by PEFT's names, such as q_proj,v_proj, or c_attn for GPT-2 [default: all-linear]
    #[arg(long, env = "LAL_LORA_TARGETS", value_name = "LIST", value_delimiter = ',')]
    pub lora_targets: Option<Vec<String>>,
    /// Dropout probability of the adapters' input in training [default: 0]
    #[arg(long, env = "LAL_LORA_DROPOUT", value_name = "P")]
    pub lora_dropout: Option<f64>,
    /// Continue training the adapter in this folder (PEFT's, or a run's adapter/); rank, alpha and targets are its own
    #[arg(long, value_name = "DIR", conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets"])]
    pub lora_init: Option<PathBuf>,
}

/// What a run keeps of its adapters, besides their rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    pub alpha: f64,
    pub dropout: f64,
    /// Names of layers, as in PEFT's `target_modules`.
    pub targets: Vec<String>,
    /// The class whose names these are: `gpt2`, or a family.
    pub names: String,
    /// The adapter that the run began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

/// Why adapters cannot be trained, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    #[error(transparent)]
    Target(#[from] UnknownTarget),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error("{flag} {value} is outside its range: {range}")]
    Range { flag: &'static str, value: f64, range: &'static str },
    #[error("{flag} is for low-rank adapters: give their rank by --lora, or leave it out")]
    NoRank { flag: &'static str },
    #[error(
        "finetune.toml has the names of layers of {0}, which Lal does not know: it is from a newer Lal, or damaged"
    )]
    Names(String),
    #[error("{0} has adapters of some blocks alone: give one that has them of all")]
    SomeBlocks(PathBuf),
}

impl LoraOptions {
    /// The rank that is asked for, and what else a run keeps; `None` where every weight is trained.
    pub fn of(&self, base: &Base) -> Result<(usize, Option<LoraConfig>), LoraError> {
        let (modules, dropout) = (base.modules(), self.lora_dropout.unwrap_or(0.0));
        if !is_share(dropout) {
            return Err(LoraError::Range { flag: "--lora-dropout", value: dropout, range: "0 to below 1" });
        }
        let names = modules.name().to_owned();
        if let Some(folder) = &self.lora_init {
            let adapter = Adapter::open(folder, &base.config, modules)?;
            let (Lora { rank, sites, .. }, alpha) = (adapter.lora(), adapter.alpha());
            let targets = modules.targets(&base.config, sites);
            let init = Some(folder.clone());
            return Ok((rank, Some(LoraConfig { alpha, dropout, targets, names, init })));
        }
        let rank = self.lora_rank.unwrap_or(0);
        if rank == 0 {
            let given = [
                ("--lora-alpha", self.lora_alpha.is_some()),
                ("--lora-targets", self.lora_targets.is_some()),
                ("--lora-dropout", self.lora_dropout.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(LoraError::NoRank { flag }),
                None => Ok((0, None)),
            };
        }
        let config = &base.config;
        ModelConfig { lora: Lora { rank, ..config.lora }, ..config.clone() }.check()?;
        let alpha = self.lora_alpha.unwrap_or(2.0 * rank as f64);
        if !(1e-6..=1e6).contains(&alpha) {
            return Err(LoraError::Range { flag: "--lora-alpha", value: alpha, range: "1e-6 to 1e6" });
        }
        let all = || vec![ALL_LINEAR.to_owned()];
        let sites = modules.sites(&base.config, &self.lora_targets.clone().unwrap_or_else(all));
        let targets = modules.targets(&base.config, sites?);
        Ok((rank, Some(LoraConfig { alpha, dropout, targets, names, init: None })))
    }

    /// What is asked for, and other in a run whose model has these adapters; of an older run there is no configuration.
    pub fn differences(
        &self,
        has: Lora,
        config: Option<&LoraConfig>,
        model: &ModelConfig,
    ) -> Result<Vec<Difference>, LoraError> {
        let (asked, rank) = (self, has.rank);
        let alpha = config.map_or(2.0 * rank as f64, |config| config.alpha);
        let targets = config.map_or(ALL_LINEAR.into(), |config| config.targets.join(","));
        let mut differences = Vec::new();
        let mut note = |differs: bool, flag: &str, asked: String, has: String| {
            differences.extend(differs.then(|| Difference { flag: flag.into(), asked, has }));
        };
        if let Some(asked) = asked.lora_rank {
            note(asked != rank, "--lora-rank", asked.to_string(), rank.to_string());
        }
        if let Some(asked) = asked.lora_alpha {
            note(asked != alpha, "--lora-alpha", asked.to_string(), alpha.to_string());
        }
        if let Some(asked) = asked.lora_dropout {
            note(asked as f32 != has.dropout, "--lora-dropout", asked.to_string(), has.dropout.to_string());
        }
        if let Some(asked) = &asked.lora_targets {
            let sites = config.map_or(Ok(Modules(None)), LoraConfig::modules)?.sites(model, asked)?;
            note(sites != has.sites, "--lora-targets", asked.join(","), targets);
        }
        if let Some(asked) = &asked.lora_init {
            let init = config.and_then(|config| config.init.clone());
            let differs = absolute(asked).ok() != init;
            let has = init.map_or("none".into(), |init| init.display().to_string());
            note(differs, "--lora-init", asked.display().to_string(), has);
        }
        Ok(differences)
    }
}

impl LoraConfig {
    /// Whose names the targets are.
    pub fn modules(&self) -> Result<Modules, LoraError> {
        Modules::named(&self.names).ok_or_else(|| LoraError::Names(self.names.clone()))
    }

    /// The adapters of a model.
    pub fn lora(&self, rank: usize, model: &ModelConfig) -> Result<Lora, LoraError> {
        let sites = self.modules()?.sites(model, &self.targets)?;
        Ok(Lora { rank, scale: (self.alpha / rank as f64) as f32, dropout: self.dropout as f32, sites })
    }
}
