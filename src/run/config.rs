//! The configuration of a training run: flag > `LAL_*` variable > TOML file > preset.
//!
//! Each of these is a layer of [`Settings`](super::settings::Settings). Laid over each other and over a preset they
//! make a [`TrainConfig`].

use serde::{Deserialize, Serialize};

use super::config_error::ConfigError;
use super::ranges::{check_counts, within};
use crate::engine::single::{is_share, is_zero_or_positive};
use crate::models::config::{Architecture, ModelConfig, default_inner};
use crate::ops::adamw::AdamW;
use crate::optim::schedule::{LearningRate, LrSchedule};
use crate::optim::{Optimizer, OptimizerConfig};
use crate::text::dataset::Sampling;
use crate::text::documents::Reading;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// Every setting of a training run. Written to `config.toml`, which can be given back with `--config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The preset that gave the defaults.
    pub preset: String,
    /// A known corpus or a path; none means the default corpus, or the Tales world without a network.
    pub data: Option<String>,
    pub tokenizer: String,

    /// The model as it is asked for: 0 for an `n_kv_head` that is `n_head`, for an `n_inner` that is [`default_inner`],
    /// and for the vocabulary. [`model()`](Self::model) fills them in.
    #[serde(flatten)]
    pub model: ModelConfig,

    /// Optimiser steps.
    pub steps: u64,
    /// Sequences per micro-step.
    pub batch_size: usize,
    /// Micro-steps whose gradients are averaged for one step.
    pub grad_accum: usize,
    pub optimizer: Optimizer,
    pub schedule: LrSchedule,
    /// The peak, reached at the last step of the warm-up.
    pub learning_rate: f64,
    /// The rate of the last step, unless the schedule is constant. A tenth of `learning_rate` by default.
    pub min_learning_rate: f64,
    /// Steps over which the learning rate rises linearly from 0.
    pub warmup_steps: u64,
    pub beta1: f64,
    pub beta2: f64,
    /// Of tensors of two or more dimensions; vectors never decay.
    pub weight_decay: f64,
    /// Maximum norm of all gradients together; 0 for no clipping.
    pub grad_clip: f64,
    /// Steps between two evaluations of the loss.
    pub eval_every: u64,
    /// Batches of an evaluation, of the training and of the validation text each.
    pub eval_iters: usize,
    /// Tokens of sample text after each evaluation; 0 for none.
    pub sample_tokens: usize,
    /// Steps between two checkpoints.
    pub save_every: u64,
    pub seed: u64,
    /// In which order the windows of a text are learned.
    pub sampling: Sampling,
    /// As `data`, to validate on; none for a part of `data`.
    pub val_data: Option<String>,
    /// How documents are found in `data`: see [`Reading`].
    pub text_key: String,
    pub document_separator: String,
    pub skip_bad_lines: bool,
}

impl TrainConfig {
    /// The model of this run over a vocabulary.
    pub fn model(&self, vocab_size: usize) -> ModelConfig {
        let or = |asked: usize, otherwise: usize| if asked == 0 { otherwise } else { asked };
        let ModelConfig { n_head, n_kv_head, n_embd, n_inner, feed_forward, .. } = self.model;
        ModelConfig {
            vocab_size,
            n_kv_head: or(n_kv_head, n_head),
            n_inner: or(n_inner, default_inner(feed_forward, n_embd)),
            ..self.model.clone()
        }
    }

    /// The tokenizer of this run over a text; with a mask token for a model that is not causal.
    pub fn tokenizer(&self, text: &str) -> Result<Tokenizer, TokenizerError> {
        Ok(self.masked(Tokenizer::from_name(&self.tokenizer, text)?))
    }

    /// A tokenizer with the mask token that a model needs which is not causal.
    pub fn masked(&self, tokenizer: Tokenizer) -> Tokenizer {
        if self.model.causal { tokenizer } else { tokenizer.with_mask() }
    }

    /// How documents are found in its data.
    pub fn reading(&self) -> Reading {
        let (text_key, separator) = (self.text_key.clone(), self.document_separator.clone());
        Reading { text_key, separator, skip_bad_lines: self.skip_bad_lines }
    }

    /// The optimizer with its settings.
    pub fn optimizer_config(&self) -> OptimizerConfig {
        OptimizerConfig {
            optimizer: self.optimizer,
            adamw: AdamW {
                beta1: self.beta1 as f32,
                beta2: self.beta2 as f32,
                eps: 1e-8,
                weight_decay: self.weight_decay as f32,
                clip: self.grad_clip as f32,
            },
        }
    }

    /// The learning rate over the steps.
    pub fn schedule(&self) -> LearningRate {
        LearningRate {
            schedule: self.schedule,
            highest: self.learning_rate,
            lowest: self.min_learning_rate,
            warmup_steps: self.warmup_steps,
            steps: self.steps,
        }
    }

    /// As `config.toml` holds it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are strings, numbers and truth values that TOML can hold")
    }

    /// The same by key.
    pub(super) fn as_table(&self) -> toml::Table {
        toml::Table::try_from(self)
            .expect("settings are strings, numbers and truth values that TOML can hold")
    }

    /// Sequences or pairs that one optimiser step learns from.
    pub fn examples_per_step(&self) -> usize {
        self.batch_size.saturating_mul(self.grad_accum)
    }

    /// Checks that every number is in its range.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_counts(self)?;
        // The vocabulary comes with the text; any will do to check the rest.
        self.model(1).check()?;
        let reads_on = self.model.is_recurrent() || self.model.architecture == Architecture::Skipgram;
        let sampled = self.sampling == Sampling::Random || !reads_on;
        within("sampling", "epoch", sampled, "random, where a model reads on or learns pairs of tokens")?;
        const SHARE: &str = "0 to 0.99999994, the 32-bit number before 1";
        let (peak, end) = (self.learning_rate, self.min_learning_rate);
        within("learning_rate", peak, peak > 1e-30 && peak <= 1e6, "above 0 (1e-30), up to 1e6")?;
        within("min_learning_rate", end, (0.0..=peak).contains(&end), "0 to learning_rate")?;
        within("beta1", self.beta1, is_share(self.beta1), SHARE)?;
        within("beta2", self.beta2, is_share(self.beta2), SHARE)?;
        within("weight_decay", self.weight_decay, (0.0..=1e6).contains(&self.weight_decay), "0 to 1e6")?;
        let clip = self.grad_clip;
        let clips = is_zero_or_positive(clip) && clip <= 1e30;
        within("grad_clip", clip, clips, "0 (no clipping), or 1.2e-38 to 1e30")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::presets;
    use crate::run::settings::Settings;

    fn config(toml: &str) -> Result<TrainConfig, ConfigError> {
        toml::from_str::<Settings>(toml).unwrap().resolve()
    }

    #[test]
    fn silence_means_mini() {
        let mini = config("").unwrap();
        assert_eq!((mini.preset.as_str(), mini.steps, mini.model.n_embd), ("mini", 2000, 128));
        assert_eq!(mini.model(65).n_parameters(), 804_096);
    }

    #[test]
    fn a_setting_replaces_its_preset() {
        let char = config("preset = 'char'\nn_layer = 2\ndata = 'own.txt'").unwrap();
        assert_eq!((char.model.n_layer, char.model.n_head, char.data.as_deref()), (2, 6, Some("own.txt")));
    }

    #[test]
    fn the_learning_rate_ends_at_a_tenth() {
        assert_eq!(config("").unwrap().min_learning_rate, 1e-4);
        assert_eq!(config("learning_rate = 1e-5").unwrap().min_learning_rate, 1e-6);
        let both = config("learning_rate = 1e-5\nmin_learning_rate = 0.0").unwrap();
        assert_eq!(both.min_learning_rate, 0.0);
    }

    #[test]
    fn muon_has_a_rate_of_its_own() {
        let rates =
            |toml| config(toml).map(|config| [config.learning_rate, config.min_learning_rate]).unwrap();
        assert_eq!(rates("optimizer = 'muon'"), [3e-3, 3e-4]);
        assert_eq!(rates("optimizer = 'muon'\npreset = 'medium'"), [1.8e-3, 1.8e-4]);
        assert_eq!(rates("optimizer = 'muon'\nlearning_rate = 1e-3"), [1e-3, 1e-4]);
        assert_eq!(rates("optimizer = 'sgd'"), [1e-3, 1e-4]);
    }

    #[test]
    fn its_own_file_gives_it_back() {
        for name in presets::NAMES {
            let first = config(&format!("preset = {name:?}\nseed = 5\nlearning_rate = 3.3e-4")).unwrap();
            assert_eq!(config(&first.to_toml()).unwrap(), first);
        }
    }

    #[test]
    fn what_makes_no_run_is_named() {
        let complaint = |toml| config(toml).unwrap_err().to_string();
        let unknown = complaint("preset = 'huge'");
        assert!(unknown.contains("\"huge\"") && unknown.contains("mini, char, tiny"), "{unknown}");
        for (toml, named) in [
            ("batch_size = 0", "batch_size = 0"),
            ("steps = 0", "steps = 0"),
            ("learning_rate = -1.0", "learning_rate = -1"),
            ("learning_rate = nan", "learning_rate = NaN"),
            ("min_learning_rate = 1.0", "min_learning_rate = 1"),
            ("beta2 = 1.0", "beta2 = 1"),
            // As 32-bit numbers these are 1, 0 and infinite.
            ("beta1 = 0.99999999999", "beta1 = 0.99999999999"),
            ("beta2 = 0.99999999999", "beta2 = 0.99999999999"),
            ("dropout = 0.99999999999", "dropout = 0.99999999999"),
            ("learning_rate = 1e-50", "learning_rate = 0.000"),
            ("learning_rate = 1e39", "learning_rate = 1000"),
            ("grad_clip = 1e-50", "grad_clip = 0.000"),
            ("grad_clip = 1e39", "grad_clip = 1000"),
            ("weight_decay = 1e39", "weight_decay = 1000"),
            ("grad_clip = -1.0", "grad_clip = -1"),
            ("architecture = 'gru'\nsampling = 'epoch'", "sampling = epoch"),
            ("dropout = 1.0", "dropout = 1"),
            ("n_head = 3", "n_head = 3"),
        ] {
            assert!(complaint(toml).contains(named), "{}", complaint(toml));
        }
    }
}
