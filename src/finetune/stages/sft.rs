//! Supervised fine-tuning: a model that continues text learns to answer, from conversations.

use serde::{Deserialize, Serialize};

use crate::finetune::report::Report;
use crate::finetune::sft_dataset::{FLAWED_TALES, SftDataset};
use crate::finetune::sft_source::SftSource;
use crate::finetune::stage::{Context, Options, Setup, Stage};
use crate::optim::Optimizer;
use crate::run::settings::Settings;
use crate::text::corpus::TALES;
use crate::train::source::Source;

/// SFT has no options of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct SftOptions {}

/// The defaults that all stages begin with.
pub fn defaults() -> Settings {
    Settings {
        steps: Some(1000),
        batch_size: Some(12),
        // Whatever the base was pretrained with.
        grad_accum: Some(1),
        learning_rate: Some(5e-4),
        warmup_steps: Some(50),
        weight_decay: Some(0.0),
        eval_every: Some(100),
        save_every: Some(500),
        sample_tokens: Some(60),
        ..Settings::default()
    }
}

impl Options for SftOptions {
    fn name(&self) -> &'static str {
        "sft"
    }

    /// A model learns conversations about tales in this order: what kind of word answers a question; after some hundred
    /// steps, rather suddenly, to find such a word in the tale; last, whose it is, and that a person is not in the
    /// tale. A low rate or few steps end before that. Half of the flawed
    /// demonstrations begin with a reminder instead of some questions: they take twice the steps.
    fn defaults(&self, data: Option<&str>) -> Settings {
        let Some(data @ (TALES | FLAWED_TALES)) = data else { return defaults() };
        Settings {
            steps: Some(if data == TALES { 2000 } else { 4000 }),
            batch_size: Some(4),
            optimizer: Some(Optimizer::Muon),
            learning_rate: Some(3e-3),
            eval_every: Some(250),
            ..defaults()
        }
    }

    fn recipes(&self) -> Vec<(String, Settings)> {
        let of = |data| (format!(" with --data {data}"), self.defaults(Some(data)));
        vec![(String::new(), defaults()), of(TALES), of(FLAWED_TALES)]
    }

    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>> {
        let dataset =
            SftDataset::load(data, setup.held_out, setup.config.model.block_size, &setup.tokenizer)?;
        Ok(Box::new(Sft { dataset }))
    }
}

struct Sft {
    dataset: SftDataset,
}

impl Stage for Sft {
    fn tokens(&self) -> [usize; 2] {
        let train = self.dataset.train.iter().map(|example| example.tokens.len()).sum();
        [train, self.dataset.held_out.tokens()]
    }

    fn source(&mut self, setup: &Setup, _context: &mut Context) -> anyhow::Result<Box<dyn Source>> {
        let SftDataset { name, train, held_out } = &self.dataset;
        Ok(Box::new(SftSource::new(name, train, &held_out.examples, &setup.config, &setup.model)?))
    }

    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report> {
        self.dataset.held_out.evaluate(setup, None, context)
    }
}
