//! One layer of configuration: a preset, a TOML file, or the command line.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::choice::choice;
use super::config::TrainConfig;
use super::config_error::ConfigError;
use super::presets;
use super::ranges::check_counts;
use crate::files::{SETTINGS_BYTES, read_to_string};
use crate::models::config::{Architecture, ModelConfig, NormPlace, Position};
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;
use crate::optim::Optimizer;
use crate::optim::muon::Muon;
use crate::optim::schedule::LrSchedule;
use crate::text::dataset::Sampling;
use crate::text::documents::Reading;

const ABOUT_PRESETS: &str = "A named set of defaults; other flags override it [default: mini]";

/// Settings of one layer; `None` where the layer does not set one. As `clap` arguments, flags override `LAL_*`
/// variables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
#[command(allow_negative_numbers = true)]
pub struct Settings {
    #[arg(
        long,
        env = "LAL_PRESET",
        value_name = "NAME",
        help = ABOUT_PRESETS,
        long_help = format!("{ABOUT_PRESETS}\n\n{}", presets::list()),
    )]
    pub preset: Option<String>,
    /// What to learn from: a corpus by name (see `lal data list`); or a file, a folder, a quoted pattern such as
    /// 'shards/*.jsonl.zst', or several of these, separated by commas. Texts, .jsonl and .gz or .zst of these; .bin of
    /// nanoGPT and llm.c
    #[arg(long, env = "LAL_DATA", value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// What to validate on, as --data [default: a part of --data: the last tenth of a single text, or one document in
    /// 20]
    #[arg(long, env = "LAL_VAL_DATA", value_name = "NAME|PATH")]
    pub val_data: Option<String>,
    /// The key under which a line of JSON has its text
    #[arg(long, env = "LAL_TEXT_KEY", value_name = "KEY")]
    pub text_key: Option<String>,
    /// What stands between two documents of a text file, such as '<|endoftext|>'; '' where a file is one document
    #[arg(long, env = "LAL_DOCUMENT_SEPARATOR", value_name = "TEXT", allow_hyphen_values = true)]
    pub document_separator: Option<String>,
    /// Leave out lines that are no UTF-8, no JSON, or have no text
    #[arg(long, env = "LAL_SKIP_BAD_LINES", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub skip_bad_lines: Option<bool>,
    /// Family of the model: a transformer, a recurrent net (rnn, gru, lstm), a window of tokens through one hidden
    /// layer (mlp), a table of token pairs (bigram), or word vectors (skipgram)
    #[arg(long, env = "LAL_ARCHITECTURE", value_parser = choice::<Architecture>(), value_name = "NAME")]
    pub architecture: Option<Architecture>,
    /// How text becomes tokens: char, byte, word, gpt2, or bpe:N, which is trained on the text to N tokens
    #[arg(long, env = "LAL_TOKENIZER", value_name = "NAME")]
    pub tokenizer: Option<String>,
    /// Layers: Transformer blocks, or layers of a recurrent net
    #[arg(long, env = "LAL_N_LAYER", value_name = "N")]
    pub n_layer: Option<usize>,
    /// Attention heads of a block; must divide --n-embd
    #[arg(long, env = "LAL_N_HEAD", value_name = "N")]
    pub n_head: Option<usize>,
    /// Key and value heads of a block (grouped-query attention); must divide --n-head; 0 for --n-head
    #[arg(long, env = "LAL_N_KV_HEAD", value_name = "N")]
    pub n_kv_head: Option<usize>,
    /// Channels of an attention head; 0 for --n-embd / --n-head
    #[arg(long, env = "LAL_HEAD_SIZE", value_name = "N")]
    pub head_size: Option<usize>,
    /// Channels of a token's embedding, the width of the model
    #[arg(long, env = "LAL_N_EMBD", value_name = "N")]
    pub n_embd: Option<usize>,
    /// Hidden channels of the feed-forward half; 0 for 4 × --n-embd, and 8/3 × --n-embd with swiglu
    #[arg(long, env = "LAL_N_INNER", value_name = "N")]
    pub n_inner: Option<usize>,
    /// Context length in tokens; for skipgram, the distance of the farthest neighbour
    #[arg(long, env = "LAL_BLOCK_SIZE", value_name = "N")]
    pub block_size: Option<usize>,
    /// Add a bias in linear layers and layer norms
    #[arg(long, env = "LAL_BIAS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub bias: Option<bool>,
    /// Dropout probability in training, 0 to below 1
    #[arg(long, env = "LAL_DROPOUT", value_name = "P")]
    pub dropout: Option<f64>,
    /// Positional encoding of a Transformer: a fixed or a learned table that is added to the tokens, rotary embeddings
    /// (rope), or linear biases of the scores (alibi)
    #[arg(long, env = "LAL_POSITION", value_parser = choice::<Position>(), value_name = "NAME")]
    pub position: Option<Position>,
    /// Tokens in a causal convolution over queries, keys and values, 2 or more; 0 for no convolution
    #[arg(long, env = "LAL_CONV_KERNEL", value_name = "N")]
    pub conv_kernel: Option<usize>,
    /// Normalization of the residual stream: layer norm, RMS norm, or none
    #[arg(long, env = "LAL_NORM", value_parser = choice::<Norm>(), value_name = "NAME")]
    pub norm: Option<Norm>,
    /// Where norms are in a block: before each half (pre, as in GPT-2), after each addition (post, as in BERT), of what
    /// each half adds (branch, as in OLMo 2), or before each half and of what it adds (sandwich, as in Gemma)
    #[arg(long, env = "LAL_NORM_PLACE", value_parser = choice::<NormPlace>(), value_name = "NAME")]
    pub norm_place: Option<NormPlace>,
    /// Activation of the feed-forward half; linear has none, swiglu and geglu are gated as in Llama and Gemma
    #[arg(long, env = "LAL_FEED_FORWARD", value_parser = choice::<FeedForward>(), value_name = "NAME")]
    pub feed_forward: Option<FeedForward>,
    /// Use the token embedding as the output layer's weight too
    #[arg(long, env = "LAL_TIED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub tied: Option<bool>,
    /// Causal attention: a token sees only those before it; false trains a model that fills in masked tokens
    #[arg(long, env = "LAL_CAUSAL", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub causal: Option<bool>,
    /// Optimizer steps
    #[arg(long, visible_alias = "max-iters", env = "LAL_STEPS", value_name = "N")]
    pub steps: Option<u64>,
    /// Order of the windows of a text: at places drawn at random, or each once, in random order, before any comes
    /// again (epoch)
    #[arg(long, env = "LAL_SAMPLING", value_parser = choice::<Sampling>(), value_name = "NAME")]
    pub sampling: Option<Sampling>,
    /// Sequences of a micro-step
    #[arg(long, env = "LAL_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Micro-steps of an optimizer step, over which gradients are averaged (gradient accumulation)
    #[arg(long, env = "LAL_GRAD_ACCUM", value_name = "N")]
    pub grad_accum: Option<usize>,
    /// Optimizer: AdamW, Muon for the matrices inside blocks and AdamW for the rest, or SGD with momentum
    #[arg(long, env = "LAL_OPTIMIZER", value_parser = choice::<Optimizer>(), value_name = "NAME")]
    pub optimizer: Option<Optimizer>,
    /// Learning rate after the warm-up: constant, a linear or cosine decay, or constant with a linear decay in the last
    /// fifth of the steps (wsd)
    #[arg(long, env = "LAL_SCHEDULE", value_parser = choice::<LrSchedule>(), value_name = "NAME")]
    pub schedule: Option<LrSchedule>,
    /// Peak learning rate, reached at the end of the warm-up [default: the preset's; three times that with muon]
    #[arg(long, visible_alias = "lr", env = "LAL_LEARNING_RATE", value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Learning rate of the last step, unless the schedule is constant [default: a tenth of --learning-rate]
    #[arg(long, env = "LAL_MIN_LEARNING_RATE", value_name = "X")]
    pub min_learning_rate: Option<f64>,
    /// Steps of linear warm-up from 0
    #[arg(long, env = "LAL_WARMUP_STEPS", value_name = "N")]
    pub warmup_steps: Option<u64>,
    /// AdamW's β₁; with sgd, the momentum
    #[arg(long, env = "LAL_BETA1", value_name = "X")]
    pub beta1: Option<f64>,
    /// AdamW's β₂
    #[arg(long, env = "LAL_BETA2", value_name = "X")]
    pub beta2: Option<f64>,
    /// Weight decay of matrices
    #[arg(long, env = "LAL_WEIGHT_DECAY", value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Maximum norm of the gradient; 0 for no clipping
    #[arg(long, env = "LAL_GRAD_CLIP", value_name = "X")]
    pub grad_clip: Option<f64>,
    /// Steps between two evaluations of the loss
    #[arg(long, env = "LAL_EVAL_EVERY", value_name = "N")]
    pub eval_every: Option<u64>,
    /// Batches per evaluation, from the training text and from the validation text
    #[arg(long, env = "LAL_EVAL_ITERS", value_name = "N")]
    pub eval_iters: Option<usize>,
    /// Tokens of sample text after each evaluation; 0 for none
    #[arg(long, env = "LAL_SAMPLE_TOKENS", value_name = "N")]
    pub sample_tokens: Option<usize>,
    /// Steps between two checkpoints
    #[arg(long, env = "LAL_SAVE_EVERY", value_name = "N")]
    pub save_every: Option<u64>,
    /// Random seed of weights, batches, dropout and samples
    #[arg(long, env = "LAL_SEED", value_name = "N")]
    pub seed: Option<u64>,
}

impl Settings {
    /// The settings of a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or has a key that is none of a run's: the error names it.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = read_to_string(path, SETTINGS_BYTES)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::BadFile { path: path.into(), source: source.into() })
    }

    /// The flag of a setting that only pretraining has a use for, if one is set to something.
    pub fn of_texts(&self) -> Option<&'static str> {
        let reading = Reading::default();
        let other = |own: &Option<String>, usual: &str| own.as_ref().is_some_and(|own| own != usual);
        match () {
            () if self.val_data.is_some() => Some("--val-data"),
            () if other(&self.text_key, &reading.text_key) => Some("--text-key"),
            () if other(&self.document_separator, &reading.separator) => Some("--document-separator"),
            () if self.skip_bad_lines == Some(true) => Some("--skip-bad-lines"),
            () if self.sampling == Some(Sampling::Epoch) => Some("--sampling"),
            () => None,
        }
    }

    /// The settings of this model.
    pub fn of_model(model: &ModelConfig) -> Self {
        let table = Table::try_from(model).expect("sizes, names and truth values, which TOML can hold");
        table.try_into().expect("what a model is serialized as are settings")
    }

    /// The settings that both have, with different values: the name, the value here, and the value in `other`.
    pub fn differences(&self, other: &Self) -> Result<Vec<(String, String, String)>, ConfigError> {
        let (own, other) = (table(self)?, table(other)?);
        let differing = |(key, value): (String, Value)| {
            let theirs = other.get(&key).filter(|theirs| **theirs != value)?;
            Some((key, value.to_string(), theirs.to_string()))
        };
        Ok(own.into_iter().filter_map(differing).collect())
    }

    /// These settings, and those of `below` where these are not set.
    pub fn over(&self, below: &Self) -> Result<Self, ConfigError> {
        let table = self.laid_over(below)?;
        Ok(table.try_into().expect("every key is of a setting, and of its type"))
    }

    /// The configuration of a run: these settings over the defaults of their preset.
    pub fn resolve(&self) -> Result<TrainConfig, ConfigError> {
        let name = self.preset.as_deref().unwrap_or(presets::DEFAULT);
        let unknown =
            || ConfigError::UnknownPreset { name: name.to_owned(), known: presets::NAMES.join(", ") };
        let preset = presets::named(name).ok_or_else(unknown)?;
        let mut settings = self.clone();
        if settings.optimizer == Some(Optimizer::Muon) && preset.optimizer != Optimizer::Muon {
            // Presets have AdamW's rate.
            settings.learning_rate.get_or_insert(presets::times(preset.learning_rate, Muon::RATE));
        }
        let mut table = settings.laid_over(&preset)?;
        if let Some(peak) = settings.learning_rate {
            table.entry("min_learning_rate").or_insert(presets::tenth(peak).into());
        }
        let config: TrainConfig = table.try_into().expect("a preset has every key, and each is of its type");
        config.check()?;
        Ok(config)
    }

    /// As a table, these settings over those of `below`.
    pub(super) fn laid_over(&self, below: &impl Serialize) -> Result<Table, ConfigError> {
        let (own, mut merged) = (table(self)?, table(below)?);
        if own.contains_key("learning_rate") {
            // A new peak over an old end could rise where it should fall.
            merged.remove("min_learning_rate");
        }
        merged.extend(own);
        Ok(merged)
    }
}

/// Settings by name, each number within its range: TOML has none beyond 63 bits.
fn table(settings: &impl Serialize) -> Result<Table, ConfigError> {
    check_counts(settings)?;
    Ok(Table::try_from(settings).expect("settings are strings, numbers and truth values that TOML can hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn parsed(args: &[&str]) -> Settings {
        <Cli as clap::Parser>::try_parse_from(["train"].iter().chain(args)).unwrap().settings
    }

    #[test]
    fn flags_go_before_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        std::fs::write(
            &path,
            "preset = \"char\"\nsteps = 7\nfeed_forward = \"gelu-tanh\"\nlearning_rate = 0.01\n",
        )
        .unwrap();
        let file = Settings::from_file(&path).unwrap();
        let both = parsed(&["--steps", "9", "--bias", "true"]).over(&file).unwrap();
        assert_eq!((both.preset.as_deref(), both.steps), (Some("char"), Some(9)));
        assert_eq!(
            (both.feed_forward, both.bias, both.seed),
            (Some(FeedForward::GeluTanh), Some(true), None)
        );
    }

    #[test]
    fn a_new_peak_takes_the_old_end_away() {
        let below = Settings { min_learning_rate: Some(1e-2), ..Default::default() };
        assert_eq!(parsed(&["--learning-rate", "1e-3"]).over(&below).unwrap().min_learning_rate, None);
        assert_eq!(parsed(&["--steps", "1"]).over(&below).unwrap().min_learning_rate, Some(1e-2));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        std::fs::write(&path, "stepz = 7\n").unwrap();
        let error = Settings::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("own.toml") && error.contains("stepz"), "{error}");
        let error = Settings::from_file(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }

    /// Whatever a model is configured with is a setting, and the other way round.
    #[test]
    fn a_model_makes_its_settings_and_they_make_the_model() {
        for name in presets::NAMES {
            let model = presets::named(name).unwrap().model(9);
            let settings = Settings::of_model(&model);
            assert_eq!(settings.resolve().unwrap().model(9), model, "{name}");
        }
    }

    #[test]
    fn a_flag_of_the_wrong_kind_is_refused() {
        for args in [["--feed-forward", "swish"], ["--steps", "-1"], ["--n-head", "x"]] {
            let error = <Cli as clap::Parser>::try_parse_from(["train"].iter().chain(&args)).unwrap_err();
            assert!(error.to_string().contains(args[0]), "{error}");
        }
        let settings = Settings { seed: Some(u64::MAX), ..Default::default() };
        assert!(settings.over(&Settings::default()).unwrap_err().to_string().contains("seed"));
    }
}
