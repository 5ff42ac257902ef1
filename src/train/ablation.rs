//! The Transformer with one piece after the other removed or replaced: what each is worth.

use super::pretraining::pretraining;
use super::trainer::{TrainError, Trainer};
use crate::engine::device::Device;
use crate::models::config::{NormPlace, Position};
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;
use crate::run::config::TrainConfig;
use crate::text::dataset::{Dataset, Split};

/// A change to a run.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The piece that is changed.
    pub piece: &'static str,
    /// What it becomes.
    pub to: &'static str,
    apply: fn(&mut TrainConfig),
}

/// What a run with a change came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub parameters: usize,
    /// After the last step, in nats per token.
    pub val_loss: f64,
}

/// Every change to a GPT, first none, then another seed alone: the difference between these two is chance.
pub const CHANGES: [Change; 19] = [
    Change { piece: "GPT", to: "as it is", apply: |_| {} },
    Change { piece: "", to: "another seed", apply: |config| config.seed += 1 },
    Change { piece: "positions", to: "none", apply: |config| config.model.position = Position::None },
    Change { piece: "", to: "sinusoidal", apply: |config| config.model.position = Position::Sinusoidal },
    Change { piece: "", to: "rotary", apply: |config| config.model.position = Position::Rope },
    Change { piece: "", to: "ALiBi", apply: |config| config.model.position = Position::Alibi },
    Change { piece: "convolution", to: "of four tokens", apply: |config| config.model.conv_kernel = 4 },
    Change { piece: "norm", to: "none", apply: |config| config.model.norm = Norm::None },
    Change { piece: "", to: "RMS", apply: |config| config.model.norm = Norm::Rms },
    Change { piece: "", to: "after each half", apply: |config| config.model.norm_place = NormPlace::Post },
    Change {
        piece: "feed-forward",
        to: "linear",
        apply: |config| config.model.feed_forward = FeedForward::Linear,
    },
    Change { piece: "", to: "ReLU", apply: |config| config.model.feed_forward = FeedForward::Relu },
    Change { piece: "", to: "ReLU²", apply: |config| config.model.feed_forward = FeedForward::Relu2 },
    Change { piece: "", to: "SwiGLU", apply: |config| config.model.feed_forward = FeedForward::Swiglu },
    Change { piece: "heads", to: "a single one", apply: |config| config.model.n_head = 1 },
    Change {
        piece: "",
        to: "keys for two (GQA)",
        apply: |config| config.model.n_kv_head = config.model.n_head / 2,
    },
    Change { piece: "", to: "keys for all (MQA)", apply: |config| config.model.n_kv_head = 1 },
    Change { piece: "head", to: "untied", apply: |config| config.model.tied = false },
    Change { piece: "all of Llama's", to: "at once", apply: llama },
];

/// Rotary positions, RMS norms, SwiGLU and shared keys.
fn llama(config: &mut TrainConfig) {
    config.model.position = Position::Rope;
    config.model.norm = Norm::Rms;
    config.model.feed_forward = FeedForward::Swiglu;
    config.model.n_kv_head = config.model.n_head / 2;
}

impl Change {
    /// The run with this change.
    pub fn of(&self, run: &TrainConfig) -> TrainConfig {
        let mut changed = run.clone();
        (self.apply)(&mut changed);
        changed
    }

    /// Trains the changed run on a device that holds no model yet.
    pub fn outcome(
        &self,
        device: &mut dyn Device,
        run: &TrainConfig,
        dataset: &Dataset,
        vocab_size: usize,
    ) -> Result<Outcome, TrainError> {
        let config = self.of(run);
        let model = config.model(vocab_size);
        let parameters = model.n_parameters();
        let source = pretraining(&config, &model, dataset.clone())
            .map_err(|error| TrainError::Source(error.into()))?;
        let steps = config.steps;
        let mut trainer = Trainer::new(device, config, model, source)?;
        trainer.train_to(device, steps)?;
        Ok(Outcome { parameters, val_loss: trainer.estimate(device, Split::Val)?.loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::presets;

    #[test]
    fn every_change_changes_one_run_and_makes_a_model() {
        let run = presets::named("mini").unwrap();
        let all: Vec<_> = CHANGES.iter().map(|change| change.of(&run)).collect();
        assert_eq!(all[0], run);
        for (i, config) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == config), Some(i), "{:?}", CHANGES[i]);
            assert_eq!(config.model(65).check(), Ok(()));
        }
        let llama = presets::named("llama-mini").unwrap();
        assert_eq!(all[all.len() - 1], TrainConfig { preset: run.preset, ..llama });
    }
}
