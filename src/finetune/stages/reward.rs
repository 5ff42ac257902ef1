//! Reward models: a model learns to score answers, from pairs of them.

use std::mem::take;

use serde::{Deserialize, Serialize};

use super::sft;
use crate::engine::device::Device;
use crate::finetune::calibration::Calibration;
use crate::finetune::examples::TALES_HELD_OUT;
use crate::finetune::pair_source::PairSource;
use crate::finetune::preference_dataset::{PreferenceDataset, both, longest};
use crate::finetune::report::Report;
use crate::finetune::scorer::{Head, Scorer};
use crate::finetune::stage::{Context, Options, OptionsError, Setup, Stage, check_sft_weight};
use crate::objective::Objective;
use crate::objective::reward::Reward;
use crate::run::settings::Settings;
use crate::text::preferences::EncodedPair;
use crate::train::source::Source;
use crate::train::trainer::TrainError;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct RewardOptions {
    /// Weight of the NLL of the chosen answer in the loss
    #[arg(long, default_value_t = Reward::default().sft_weight, value_name = "X")]
    #[serde(default)]
    pub sft_weight: f32,
}

impl Default for RewardOptions {
    fn default() -> Self {
        crate::finetune::stage::defaults()
    }
}

impl Options for RewardOptions {
    fn name(&self) -> &'static str {
        "reward"
    }

    fn check(&self) -> Result<(), OptionsError> {
        check_sft_weight(self.sft_weight)
    }

    fn defaults(&self, _data: Option<&str>) -> Settings {
        Settings {
            steps: Some(1200),
            batch_size: Some(16),
            dropout: Some(0.0),
            eval_iters: Some(TALES_HELD_OUT.div_ceil(16)),
            // Its head gives rewards; its text is no longer worth reading.
            sample_tokens: Some(0),
            ..sft::defaults()
        }
    }

    fn learns_pairs(&self) -> bool {
        true
    }

    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>> {
        let reward = Reward { sft_weight: self.sft_weight };
        Ok(Box::new(RewardStage { reward, dataset: PreferenceDataset::load(data, setup)? }))
    }
}

struct RewardStage {
    reward: Reward,
    dataset: PreferenceDataset,
}

impl Stage for RewardStage {
    fn tokens(&self) -> [usize; 2] {
        self.dataset.tokens()
    }

    fn truncate(&mut self, examples: usize) {
        self.dataset.truncate(examples);
    }

    fn source(&mut self, setup: &Setup, _context: &mut Context) -> anyhow::Result<Box<dyn Source>> {
        // The evaluation needs the held-out pairs as well.
        let train = take(&mut self.dataset.train);
        let dataset = PreferenceDataset { train, ..self.dataset.clone() };
        Ok(Box::new(PairSource::without_reference(Objective::Reward(self.reward), dataset, &setup.config)?))
    }

    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report> {
        let held_out = &self.dataset.held_out;
        let sizes = [2 * setup.config.batch_size, longest(held_out)];
        let scorer = Scorer::load(context.device, &setup.model, "", Head::Reward, sizes)?;
        let calibration = Calibration::of(&margins(context.device, &scorer, held_out)?);
        Ok(Report { calibration: Some(calibration), ..Report::default() })
    }
}

/// The score of each pair's better answer minus that of its worse.
fn margins(device: &mut dyn Device, scorer: &Scorer, pairs: &[EncodedPair]) -> Result<Vec<f64>, TrainError> {
    let rewards = scorer.rewards(device, &both(pairs))?;
    Ok(rewards.chunks(2).map(|pair| pair[0] - pair[1]).collect())
}
