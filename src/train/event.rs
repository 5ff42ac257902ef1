//! The events of a run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::trainer::Trainer;

/// An event of a run; in JSON an object with an `event` field.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Start {
        /// The folder.
        run: String,
        preset: String,
        data: String,
        steps: u64,
        device: &'static str,
        adapter: String,
        parameters: usize,
        /// With adapters, those of the adapters and a head alone.
        trainable_parameters: usize,
        vocab_size: usize,
        train_tokens: usize,
        val_tokens: usize,
        /// Planned bytes of training on the device.
        memory_bytes: u64,
    },
    Step {
        step: u64,
        loss: f32,
        learning_rate: f64,
        grad_norm: f32,
        ms: f64,
        /// Other figures of the objective.
        #[serde(flatten)]
        measures: BTreeMap<&'static str, f64>,
    },
    Eval {
        step: u64,
        train_loss: f64,
        val_loss: f64,
        /// Other figures of the objective on held-out data.
        #[serde(flatten)]
        measures: BTreeMap<&'static str, f64>,
    },
    Sample {
        step: u64,
        text: String,
    },
    Saved {
        step: u64,
    },
    Done {
        step: u64,
        val_loss: Option<f64>,
        best_val_loss: Option<f64>,
        median_step_ms: f64,
        tokens_per_second: f64,
        run: String,
        interrupted: bool,
    },
}

impl Event {
    /// Before the first step of `trainer` on `device`, such as "gpu", in the folder `run`, with so many tokens for
    /// training and for validation.
    pub fn start(
        device: &'static str,
        adapter: String,
        trainer: &Trainer,
        [train_tokens, val_tokens]: [usize; 2],
        run: &Path,
    ) -> Self {
        Self::Start {
            run: run.display().to_string(),
            preset: trainer.config.preset.clone(),
            data: trainer.source().name().to_owned(),
            steps: trainer.config.steps,
            device,
            adapter,
            parameters: trainer.model.n_parameters(),
            trainable_parameters: trainer.n_trained(),
            vocab_size: trainer.model.vocab_size,
            train_tokens,
            val_tokens,
            memory_bytes: trainer.memory().total(),
        }
    }
}
