//! The model that training begins with, from its folder or from the device it was trained on.

use std::collections::HashMap;
use std::path::Path;

use super::scorer::{Head, Scorer};
use crate::engine::device::{Device, DeviceError, initial_values};
use crate::engine::tape::Init;
use crate::interop::peft::modules::Modules;
use crate::models::abilities::Inability;
use crate::models::config::{Architecture, ModelConfig, Position};
use crate::run::config::TrainConfig;
use crate::run::config_error::ConfigError;
use crate::run::folder::SETTINGS;
use crate::run::model_file::{Layout, TokenizerMark};
use crate::run::settings::Settings;
use crate::run::tensor_file::Entry;
use crate::sample::load::{LoadError, Stored};
use crate::text::tokenizer::Tokenizer;
use crate::train::trainer::Trainer;

/// A pretrained model: what it is, its tokenizer, and its weights.
pub struct Base {
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    /// Its sizes, and the names of its preset and tokenizer where they are known.
    settings: Settings,
    /// For errors.
    name: String,
    weights: Weights,
}

enum Weights {
    File(Box<Stored>),
    Memory(HashMap<String, Vec<f32>>),
}

/// The name under which a reward model keeps its weights on a device.
const REWARD: &str = "reward";
/// The weight by which rewards are read off: [`Score::reward`](crate::objective::score::Score::reward).
const SCORE: &str = "score.weight";

/// Why a model cannot be fine-tuned, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(
        "{0} cannot learn to answer: fine-tuning is for causal Transformers, such as those of the presets mini and \
         llama-mini"
    )]
    NoConversations(String),
    #[error(
        "{name} has {config} tokens in its vocabulary and its tokenizer {tokenizer}: give a folder whose \
         config.json and tokenizer.json belong together"
    )]
    Vocabulary { name: String, config: usize, tokenizer: usize },
    #[error("{setting} is {asked}, and {base} in {name}: a model keeps what its base is")]
    Differs { setting: String, asked: String, base: String, name: String },
    #[error(
        "block_size is {asked}, and {name} has learned {base} positions: choose --block-size {base} or less, or train \
         a base with a longer block, or with --position rope or alibi, which need no table"
    )]
    Positions { asked: usize, base: usize, name: String },
    #[error(
        "block_size is {asked}, and {name} is for texts of {base} tokens: choose --block-size {base} or less"
    )]
    TooLong { asked: usize, base: usize, name: String },
    #[error(transparent)]
    Inability(#[from] Inability),
    #[error("block_size is {asked}, and {name} reads windows of {base} tokens: leave out --block-size")]
    Window { asked: usize, base: usize, name: String },
    #[error("the reward model in {0} has another tokenizer: train it from the same model")]
    OtherTokenizer(String),
    #[error("{0} has no score.weight: it is no reward model, such as finetune reward makes")]
    NoRewards(String),
    #[error("{name} has {found} elements in {tensor}, where this model has {shape}")]
    Shape { name: String, tensor: String, found: usize, shape: String },
}

impl Base {
    /// The model of a run folder.
    pub fn open(folder: &Path) -> Result<Self, BaseError> {
        Self::open_adapted(folder, None)
    }

    /// The model of a run folder, with the adapter of another merged into it.
    pub fn open_adapted(folder: &Path, adapter: Option<&Path>) -> Result<Self, BaseError> {
        Self::open_stored(folder, Stored::open_adapted(folder, adapter)?)?.answering()
    }

    /// A model of any kind, whose pretraining goes on.
    pub fn open_any(folder: &Path) -> Result<Self, BaseError> {
        Self::open_stored(folder, Stored::open(folder)?)
    }

    fn open_stored(folder: &Path, stored: Stored) -> Result<Self, BaseError> {
        let (config, tokenizer) = (stored.config.clone(), stored.tokenizer.clone());
        let written = folder.join(SETTINGS);
        // A model from elsewhere has none.
        let settings = if written.exists() { Settings::from_file(&written)? } else { Settings::default() };
        let weights = Weights::File(Box::new(stored));
        Self::new(folder.display().to_string(), settings, config, tokenizer, weights)
    }

    /// The reward model of a run folder, for text in the tokens of `tokenizer`.
    pub fn open_reward(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, BaseError> {
        let base = Self::open(folder)?;
        if TokenizerMark::of(&base.tokenizer) != TokenizerMark::of(tokenizer) {
            return Err(BaseError::OtherTokenizer(base.name));
        }
        if base.gives_rewards() { Ok(base) } else { Err(BaseError::NoRewards(base.name)) }
    }

    /// Loads a reward model on `device`, besides other models there: for up to `sequences` at once, of up to `time`
    /// tokens or a block.
    pub fn scorer(
        &mut self,
        device: &mut dyn Device,
        [sequences, time]: [usize; 2],
    ) -> anyhow::Result<Scorer> {
        let sizes = [sequences, time.min(self.config.block_size)];
        let scorer = Scorer::load(device, &self.config, REWARD, Head::Reward, sizes)?;
        // All its tokens are known, so that no row is drawn.
        self.write_under(REWARD, device, scorer.parameters(), 0)?;
        Ok(scorer)
    }

    /// The model that `trainer` has trained on `device`.
    pub fn of(device: &mut dyn Device, trainer: &Trainer, tokenizer: &Tokenizer) -> Result<Self, BaseError> {
        let read = |entry: Entry| Ok((entry.name.clone(), device.read(&entry.name)?));
        let weights = trainer.parameters().into_iter().map(read).collect::<Result<_, DeviceError>>()?;
        let TrainConfig { preset, tokenizer: named, .. } = trainer.config.clone();
        let name = preset.clone();
        let settings = Settings { preset: Some(preset), tokenizer: Some(named), ..Settings::default() };
        Self::new(name, settings, trainer.model.clone(), tokenizer.clone(), Weights::Memory(weights))?
            .answering()
    }

    /// Itself, if it can learn to answer.
    fn answering(self) -> Result<Self, BaseError> {
        if self.config.answers().is_ok() { Ok(self) } else { Err(BaseError::NoConversations(self.name)) }
    }

    fn new(
        name: String,
        settings: Settings,
        config: ModelConfig,
        tokenizer: Tokenizer,
        weights: Weights,
    ) -> Result<Self, BaseError> {
        if config.n_tokens() != tokenizer.vocab_size() {
            let (config, tokenizer) = (config.n_tokens(), tokenizer.vocab_size());
            return Err(BaseError::Vocabulary { name, config, tokenizer });
        }
        let Settings { preset, tokenizer: named, .. } = settings;
        let named = named.or_else(|| Some(tokenizer.name()));
        let settings = Settings { preset, tokenizer: named, ..Settings::of_model(&config) };
        Ok(Self { config, tokenizer, settings, name, weights })
    }

    /// Whether it is a reward model.
    pub fn gives_rewards(&self) -> bool {
        match &self.weights {
            Weights::File(stored) => stored.has(SCORE),
            Weights::Memory(weights) => weights.contains_key(SCORE),
        }
    }

    /// What its linear layers are called.
    pub fn modules(&self) -> Modules {
        self.layout().modules()
    }

    /// Whether an adapter, which is a difference from it, can be used with other programs.
    pub fn is_published(&self) -> bool {
        self.layout() != Layout::Plain
    }

    fn layout(&self) -> Layout {
        match &self.weights {
            Weights::File(stored) => stored.layout(),
            Weights::Memory(_) => Layout::of(&self.config),
        }
    }

    /// The settings that make this model.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Checks that no other model is `asked` for; only the block size and the dropout may differ.
    pub fn agrees(&self, asked: &Settings) -> Result<(), BaseError> {
        for (setting, asked, base) in asked.differences(&self.settings)? {
            if !matches!(setting.as_str(), "block_size" | "dropout") {
                return Err(BaseError::Differs { setting, asked, base, name: self.name.clone() });
            }
        }
        Ok(())
    }

    /// Its tokenizer with the tokens of a chat.
    pub fn chat_tokenizer(&self) -> Tokenizer {
        self.tokenizer.clone().with_chat()
    }

    /// The model to be trained: the base with rows for the tokens of a chat, and with another block size. Of a table of
    /// positions a shorter block keeps the first.
    ///
    /// # Errors
    /// When it has no head that predicts tokens, or the block is longer than the base's table of positions.
    pub fn for_chat(&self, block_size: usize, dropout: f64) -> Result<ModelConfig, BaseError> {
        self.check_positions(block_size)?;
        let tokens = self.chat_tokenizer().vocab_size();
        // Padding has rows already.
        let vocab_size = self.config.vocab_size.max(tokens);
        let unused_tokens = vocab_size - tokens;
        Ok(ModelConfig { vocab_size, unused_tokens, block_size, dropout, ..self.config.clone() })
    }

    /// The model whose pretraining goes on, with another block size.
    ///
    /// # Errors
    /// When the block is longer than the texts that the base can read.
    pub fn for_pretraining(&self, block_size: usize, dropout: f64) -> Result<ModelConfig, BaseError> {
        self.config.predicts()?;
        self.check_positions(block_size)?;
        let (asked, name) = (block_size, || self.name.clone());
        let ModelConfig { architecture, block_size: base, details, .. } = &self.config;
        if *architecture == Architecture::Mlp && asked != *base {
            return Err(BaseError::Window { asked, base: *base, name: name() });
        }
        if (1..asked).contains(&details.max_positions) {
            return Err(BaseError::TooLong { asked, base: details.max_positions, name: name() });
        }
        Ok(ModelConfig { block_size, dropout, ..self.config.clone() })
    }

    fn check_positions(&self, asked: usize) -> Result<(), BaseError> {
        let base = self.config.block_size;
        if self.config.position == Position::Learned && asked > base {
            return Err(BaseError::Positions { asked, base, name: self.name.clone() });
        }
        Ok(())
    }

    /// Writes its weights over `parameters`, those of a model from [`for_chat`](Self::for_chat) or
    /// [`for_pretraining`](Self::for_pretraining) on `device`. A head
    /// that reads off rewards is left as it is.
    ///
    /// Tables with a row per token gain rows. They are drawn like the old ones, from the normal distribution with
    /// their mean and standard deviation in each channel: the mean itself would make no new token more likely than
    /// every old one (Hewitt 2021), but with a frozen table all new tokens would then be the same.
    pub fn write_to(
        &mut self,
        device: &mut dyn Device,
        parameters: &[Entry],
        seed: u64,
    ) -> Result<(), BaseError> {
        self.write_under("", device, parameters, seed)
    }

    /// The same where the names of `parameters` begin with a `scope`: for a model besides the one in training.
    pub fn write_under(
        &mut self,
        scope: &str,
        device: &mut dyn Device,
        parameters: &[Entry],
        seed: u64,
    ) -> Result<(), BaseError> {
        let had = self.config.vocab_size;
        let has = self.chat_tokenizer().vocab_size().max(had);
        for entry in parameters.iter().filter(|entry| entry.name != SCORE) {
            let name = entry.name.strip_prefix(scope).unwrap_or(&entry.name).trim_start_matches('.');
            let entry = &Entry { name: name.to_owned(), shape: entry.shape };
            let mut stored = entry.clone();
            let per_token = entry.name.ends_with(".wte.weight") || entry.name == "lm_head.weight";
            if per_token && entry.shape.rows() == has {
                stored.shape = [had, entry.shape.width()].into();
            }
            if entry.name.ends_with(".wpe.weight") {
                stored.shape = [self.config.block_size, entry.shape.width()].into();
            }
            let mut elements = self.read(&stored)?;
            elements.truncate(entry.shape.len());
            if elements.len() < entry.shape.len() {
                let rows = new_rows(&elements, entry, has - had, seed);
                elements.extend(rows);
            }
            let to = if scope.is_empty() { entry.name.clone() } else { format!("{scope}.{}", entry.name) };
            device.write(&to, &elements)?;
        }
        Ok(())
    }

    fn read(&mut self, entry: &Entry) -> Result<Vec<f32>, BaseError> {
        match &mut self.weights {
            Weights::File(stored) => Ok(stored.read(entry)?),
            Weights::Memory(weights) => match weights.get(&entry.name) {
                Some(elements) if elements.len() == entry.shape.len() => Ok(elements.clone()),
                other => Err(BaseError::Shape {
                    name: self.name.clone(),
                    tensor: entry.name.clone(),
                    found: other.map_or(0, Vec::len),
                    shape: entry.shape.to_string(),
                }),
            },
        }
    }
}

/// `count` rows for a table whose other rows are `old`.
fn new_rows(old: &[f32], entry: &Entry, count: usize, seed: u64) -> Vec<f32> {
    let width = entry.shape.width();
    let n = (old.len() / width) as f64;
    let moments = |channel: usize| {
        let column = || old.iter().skip(channel).step_by(width).map(|&x| f64::from(x));
        let mean = column().sum::<f64>() / n;
        let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    };
    let moments: Vec<_> = (0..width).map(moments).collect();
    let draws = initial_values(seed, &entry.name, Init::Normal(1.0), count * width);
    let place = |(i, z): (usize, f32)| {
        let (mean, std) = moments[i % width];
        (mean + std * f64::from(z)) as f32
    };
    draws.into_iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns (1, 3) and (5, 5): means 2 and 5, deviations 1 and 0.
    #[test]
    fn new_rows_are_drawn_like_the_old_ones() {
        let entry = Entry { name: "transformer.wte.weight".into(), shape: [2002, 2].into() };
        let rows = new_rows(&[1.0, 5.0, 3.0, 5.0], &entry, 2000, 7);
        let first: Vec<f32> = rows.iter().step_by(2).copied().collect();
        assert!(rows.iter().skip(1).step_by(2).all(|&x| x == 5.0));
        let mean = first.iter().sum::<f32>() / 2000.0;
        let variance = first.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 2000.0;
        // Four standard errors: 4/√2000 = 0.09 of the mean, 4·√(2/2000) = 0.13 of the variance.
        assert!((mean - 2.0).abs() < 0.09 && (variance - 1.0).abs() < 0.13, "{mean} {variance}");
        assert_ne!(rows[..2], rows[2..4]);
    }
}
