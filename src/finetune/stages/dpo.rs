//! Direct preference optimisation: a model learns to prefer the better of two answers.

use std::mem::take;

use serde::{Deserialize, Serialize};

use super::sft;
use crate::finetune::examples::TALES_HELD_OUT;
use crate::finetune::pair_source::PairSource;
use crate::finetune::preference_dataset::PreferenceDataset;
use crate::finetune::questions::Questions;
use crate::finetune::report::Report;
use crate::finetune::stage::{Context, Options, OptionsError, Setup, Stage, check_beta, check_sft_weight};
use crate::objective::Objective;
use crate::objective::preference::{Preference, PreferenceLoss};
use crate::run::choice::choice;
use crate::run::settings::Settings;
use crate::text::corpus::TALES;
use crate::train::source::Source;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct DpoOptions {
    /// Loss function of the preference margin
    #[arg(long, value_parser = choice::<PreferenceLoss>(), default_value = "sigmoid", value_name = "NAME")]
    pub loss: PreferenceLoss,
    /// β of the loss: a higher one keeps the model closer to the reference
    #[arg(long, default_value_t = Preference::default().beta, value_name = "X")]
    pub beta: f32,
    /// Probability that a preference label is wrong (conservative DPO); for the sigmoid loss
    #[arg(long, default_value_t = Preference::default().label_smoothing, value_name = "P")]
    pub label_smoothing: f32,
    /// Weight of the NLL of the chosen answer in the loss
    #[arg(long, default_value_t = Preference::default().sft_weight, value_name = "X")]
    #[serde(default)]
    pub sft_weight: f32,
}

impl Default for DpoOptions {
    fn default() -> Self {
        crate::finetune::stage::defaults()
    }
}

/// The defaults of learning from pairs against a reference. Nothing is dropped out, as in TRL: otherwise the model
/// would differ from its reference before it has learned anything.
pub fn defaults() -> Settings {
    Settings {
        steps: Some(500),
        batch_size: Some(16),
        dropout: Some(0.0),
        learning_rate: Some(2e-4),
        warmup_steps: Some(20),
        eval_iters: Some(TALES_HELD_OUT.div_ceil(16)),
        ..sft::defaults()
    }
}

impl Options for DpoOptions {
    fn name(&self) -> &'static str {
        "dpo"
    }

    fn check(&self) -> Result<(), OptionsError> {
        check_beta(self.beta)?;
        let smoothing = self.label_smoothing;
        let is_good = (0.0..0.5).contains(&smoothing);
        OptionsError::unless(is_good, "--label-smoothing", smoothing, "0 to below 0.5")?;
        check_sft_weight(self.sft_weight)
    }

    fn defaults(&self, _data: Option<&str>) -> Settings {
        defaults()
    }

    /// The reference is the base, not the model in training.
    fn needs_base(&self) -> bool {
        true
    }

    fn learns_pairs(&self) -> bool {
        true
    }

    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>> {
        let Self { loss, beta, label_smoothing, sft_weight } = *self;
        let questions = match data {
            TALES => Questions::held_out(setup.held_out, &setup.tokenizer)?,
            _ => Questions::default(),
        };
        let preference = Preference { loss, beta, label_smoothing, sft_weight };
        Ok(Box::new(Dpo { preference, dataset: PreferenceDataset::load(data, setup)?, questions }))
    }
}

struct Dpo {
    preference: Preference,
    dataset: PreferenceDataset,
    questions: Questions,
}

impl Stage for Dpo {
    fn tokens(&self) -> [usize; 2] {
        self.dataset.tokens()
    }

    fn truncate(&mut self, examples: usize) {
        self.dataset.truncate(examples);
    }

    fn source(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Box<dyn Source>> {
        let (objective, dataset) = (Objective::Preference(self.preference), take(&mut self.dataset));
        Ok(Box::new(PairSource::against_base(objective, dataset, setup, context)?))
    }

    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report> {
        self.questions.evaluate(setup, None, context)
    }
}
