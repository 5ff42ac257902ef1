//! `lal finetune reward`: a model learns to tell the better of two answers by a score.

use serde::Serialize;

use super::dpo::{check_sft_weight, comparisons};
use super::run::{Job, Learner, StageArgs};
use crate::cli::failure::Usage;
use crate::cli::given::Given;
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::calibration::{Calibration, margins};
use crate::finetune::comparisons::Comparisons;
use crate::finetune::pairs::{PairSource, longest};
use crate::finetune::reader::{Head, Reader};
use crate::finetune::recipes;
use crate::finetune::stage::RewardOptions;
use crate::objective::reward;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::preferences::EncodedPair;
use crate::train::source::Source;

/// `--data` is a .jsonl of {"prompt", "chosen", "rejected"}, or `tales` for preferences about the built-in world.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub options: Given<RewardOptions>,
}

pub struct Reward {
    options: RewardOptions,
    comparisons: Option<Comparisons>,
    held_out: Vec<EncodedPair>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename = "calibration")]
struct Calibrated<'a> {
    step: u64,
    #[serde(flatten)]
    calibration: &'a Calibration,
}

impl Reward {
    pub fn new(options: RewardOptions) -> Result<Self, Usage> {
        check_sft_weight(options.sft_weight)?;
        Ok(Self { options, comparisons: None, held_out: Vec::new() })
    }
}

impl Job for Reward {
    fn defaults(&self, _data: Option<&str>) -> Settings {
        recipes::reward()
    }

    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]> {
        let (comparisons, counts) = comparisons(data, at)?;
        self.held_out.clone_from(&comparisons.held_out);
        self.comparisons = Some(comparisons);
        Ok(counts)
    }

    fn keep(&mut self, examples: usize) {
        self.comparisons.iter_mut().for_each(|comparisons| comparisons.keep(examples));
    }

    fn source(
        &mut self,
        _device: &mut dyn Device,
        _base: Option<&mut Base>,
        at: &Learner,
        _progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>> {
        let Some(Comparisons { name, train, held_out }) = self.comparisons.take() else {
            anyhow::bail!("nothing was read")
        };
        let reward = reward::Reward { sft_weight: self.options.sft_weight };
        Ok(Box::new(PairSource::for_rewards(&name, reward, train, held_out, &at.config)?))
    }

    fn judge(
        &mut self,
        device: &mut dyn Device,
        step: u64,
        at: &Learner,
        output: Output,
    ) -> anyhow::Result<()> {
        let sizes = [2 * at.config.batch_size, longest(&self.held_out)];
        let reader = Reader::load(device, &at.model, "", Head::Reward, sizes)?;
        let calibration = Calibration::of(&margins(device, &reader, &self.held_out)?);
        if output.json {
            return output.event(&Calibrated { step, calibration: &calibration });
        }
        output.line(format!("step {step}: {calibration}"))?;
        Ok(())
    }

    fn next(&self) -> &'static str {
        "reinforce: lal finetune ppo --model DIR --reward RUN"
    }
}
