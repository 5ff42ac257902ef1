//! What a stage of fine-tuning is, whatever it learns from.

use std::path::PathBuf;

use super::base::{Base, BaseError};
use super::examples::{HELD_OUT_OF, TALES_HELD_OUT};
use super::lora::LoraError;
use super::report::Report;
use super::scorer::{Head, Scorer};
use crate::engine::device::Device;
use crate::engine::single::is_positive;
use crate::interop::peft::adapter::Adapter;
use crate::interop::peft::modules::Modules;
use crate::models::config::ModelConfig;
use crate::nn::lora::Lora;
use crate::run::config::TrainConfig;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::tokenizer::Tokenizer;
use crate::train::source::Source;
use crate::train::trainer::Trainer;

/// The options of a stage: what `finetune.toml` records and the command line takes.
pub trait Options {
    /// As on the command line.
    fn name(&self) -> &'static str;

    fn check(&self) -> Result<(), OptionsError> {
        Ok(())
    }

    /// The settings of a run on these data; what the user asks for overrides them.
    fn defaults(&self, data: Option<&str>) -> Settings;

    /// The defaults for `--help`, each after the flag that asks for it (" with --data tales"); without one they are
    /// first.
    fn recipes(&self) -> Vec<(String, Settings)> {
        vec![(String::new(), self.defaults(None))]
    }

    /// Whether the data are pairs of answers.
    fn learns_pairs(&self) -> bool {
        false
    }

    /// The option that names a file or a folder, and its path: it is recognised by its content when a run is resumed.
    fn path(&mut self) -> Option<(&'static str, &mut PathBuf)> {
        None
    }

    /// Whether a resumed run needs the weights of its base.
    fn needs_base(&self) -> bool {
        false
    }

    /// Whether the source uses models on the device during training, not only before the first step.
    fn uses_device(&self) -> bool {
        false
    }

    /// Reads the data. Errors in them are found here, before a device is opened.
    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>>;
}

/// A stage that has its data.
pub trait Stage {
    /// How many tokens there are for training and for validation.
    fn tokens(&self) -> [usize; 2];

    /// Drops all but so many examples, where each is work before the first step.
    fn truncate(&mut self, _examples: usize) {}

    /// The batches.
    fn source(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Box<dyn Source>>;

    /// How good the model is whose parameters the device holds: before the first step and after the last.
    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report>;
}

/// What a stage works with.
pub struct Context<'a> {
    pub device: &'a mut dyn Device,
    /// The model that the stage begins with; a resumed run may go without it.
    pub base: Option<&'a mut Base>,
    /// What rewards the replies of a policy, where it is not in the folder that the options name.
    pub reward: Option<&'a mut Base>,
    /// Called while a model replies or scores.
    pub progress: Progress<'a>,
}

/// What a stage trains, and how.
pub struct Setup {
    pub config: TrainConfig,
    pub model: ModelConfig,
    pub tokenizer: Tokenizer,
    /// How many questions or pairs about tales are held out.
    pub held_out: usize,
    /// Whose names layers have in a file of the adapters alone, where the run writes one.
    pub exports: Option<Modules>,
    /// The adapter to begin with, and whose names its layers have.
    pub init: Option<(PathBuf, Modules)>,
}

impl Setup {
    /// `base` about to be fine-tuned with the settings that are `asked` for, otherwise with the defaults of the stage.
    pub fn new(base: &Base, options: &dyn Options, asked: &Settings) -> anyhow::Result<Self> {
        base.agrees(asked)?;
        let data = asked.over(base.settings())?.resolve()?.data;
        let config = asked.over(&options.defaults(data.as_deref()))?.over(base.settings())?.resolve()?;
        let model = base.for_chat(config.model.block_size, config.model.dropout)?;
        model.check()?;
        let tokenizer = base.chat_tokenizer();
        Ok(Self { config, model, tokenizer, held_out: TALES_HELD_OUT, exports: None, init: None })
    }

    /// The model without adapters.
    pub fn bare(&self) -> ModelConfig {
        ModelConfig { lora: Lora::default(), ..self.model.clone() }
    }

    /// Reads the data of the configuration.
    pub fn load(&self, options: &dyn Options) -> anyhow::Result<Box<dyn Stage>> {
        options.load(self.config.data.as_deref().ok_or(OptionsError::NoData)?, self)
    }

    /// The base without adapters as a reference, under the names of the model in training: for so many sequences at
    /// once, of so many tokens.
    pub fn reference(&self, sizes: [usize; 2], context: &mut Context) -> anyhow::Result<Scorer> {
        let scorer = Scorer::load(context.device, &self.bare(), "", Head::Tokens, sizes)?;
        let base = context.base.as_deref_mut().ok_or_else(|| anyhow::anyhow!("the stage needs its base"))?;
        base.write_to(context.device, scorer.parameters(), self.config.seed)?;
        Ok(scorer)
    }

    /// The model before its first step, with the weights of the base if there is one.
    pub fn trainer(&self, source: Box<dyn Source>, context: &mut Context) -> anyhow::Result<Trainer> {
        let mut trainer = Trainer::new(context.device, self.config.clone(), self.model.clone(), source)?;
        trainer.exports = self.exports;
        if let Some(base) = &mut context.base {
            base.write_to(context.device, &trainer.parameters(), self.config.seed)?;
        }
        self.begin_adapters(context.device)?;
        Ok(trainer)
    }

    /// Writes the adapter to begin with over the first adapters, if there is one.
    fn begin_adapters(&self, device: &mut dyn Device) -> anyhow::Result<()> {
        let Some((folder, modules)) = &self.init else { return Ok(()) };
        let adapter = Adapter::open(folder, &self.model, *modules)?;
        for layer in 0..self.model.n_layer {
            for (site, _) in self.model.adapters() {
                let scope = format!("transformer.h.{layer}.{}", site.scope());
                let factors =
                    adapter.factors(&scope)?.ok_or_else(|| LoraError::SomeBlocks(folder.clone()))?;
                for (name, elements) in ["lora_a", "lora_b"].into_iter().zip(factors) {
                    device.write(&format!("{scope}.{name}"), &elements)?;
                }
            }
        }
        Ok(())
    }
}

/// The largest weight of a loss: the squares of its gradients can still be summed in single precision.
const MAX_WEIGHT: f32 = 1e6;

/// Why a stage cannot run with these options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("{flag} {value} is outside its range: {range}")]
    Range { flag: &'static str, value: String, range: String },
    #[error("there is nothing to learn from: give --data a .jsonl, or tales")]
    NoData,
    #[error("programs judge replies to questions about tales alone: give --data tales")]
    NotTales,
    #[error(
        "no program can judge replies to prompts of one's own: give --reward the folder of a reward model, which \
         finetune reward makes"
    )]
    NoReward,
    #[error(transparent)]
    RewardModel(BaseError),
    #[error(
        "{name} has too few {what}: {have}, and {HELD_OUT_OF} or more are needed, as every tenth is held out for \
         validation"
    )]
    TooFew { name: String, what: &'static str, have: usize },
    #[error("there are no prompts in {0}")]
    NoPrompts(String),
    #[error("grpo compares replies to the same prompt: give --samples 2 or more")]
    Alone,
    #[error(
        "{replies} replies of an iteration ({prompts} --prompts × {samples} --samples) do not make whole steps of \
         {step} (--batch-size × --grad-accum)"
    )]
    Steps { replies: usize, prompts: usize, samples: usize, step: usize },
    #[error(
        "a prompt of {name} has {tokens} tokens, and with --max-tokens {most} for the reply a block of {block_size} \
         does not hold it: shorten it, or lower --max-tokens"
    )]
    TooLong { name: String, tokens: usize, most: usize, block_size: usize },
    #[error("this is a run of {0}: continue it with finetune {0} --resume")]
    OtherStage(String),
    #[error("{0} is for pretraining on texts: leave it out")]
    OfTexts(&'static str),
    #[error("give a --model")]
    NoModel,
}

impl OptionsError {
    pub(super) fn unless(
        is_good: bool,
        flag: &'static str,
        value: impl ToString,
        range: impl Into<String>,
    ) -> Result<(), Self> {
        if is_good {
            Ok(())
        } else {
            Err(Self::Range { flag, value: value.to_string(), range: range.into() })
        }
    }
}

/// IPO divides by it.
pub(super) fn check_beta(beta: f32) -> Result<(), OptionsError> {
    let is_good = is_positive(beta.into()) && beta <= MAX_WEIGHT;
    OptionsError::unless(is_good, "--beta", beta, format!("above 0, up to {MAX_WEIGHT}"))
}

pub(super) fn check_sft_weight(sft_weight: f32) -> Result<(), OptionsError> {
    let is_good = (0.0..=MAX_WEIGHT).contains(&sft_weight);
    OptionsError::unless(is_good, "--sft-weight", sft_weight, format!("0 to {MAX_WEIGHT}"))
}

/// The options of a stage when none is given: the defaults that its attributes declare.
pub(super) fn defaults<T: clap::Args>() -> T {
    let matches = T::augment_args(clap::Command::new("")).get_matches_from([""]);
    T::from_arg_matches(&matches).expect("every option is optional or has a default")
}
