//! `lal finetune reward`: a model learns to tell the better of two answers by a score.

use serde::Serialize;

use super::dpo::comparisons;
use super::run::{Job, Learner, StageArgs};
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::calibration::{Calibration, margins};
use crate::finetune::comparisons::{Comparisons, TALES_PAIRS_HELD_OUT};
use crate::finetune::pairs::{PairSource, longest};
use crate::finetune::reader::{Head, Reader};
use crate::run::settings::Settings;
use crate::text::preferences::EncodedPair;
use crate::train::source::Source;

/// `--data` is a .jsonl of {"prompt", "chosen", "rejected"}, or `tales` for preferences about the built-in world.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
}

#[derive(Default)]
pub struct Reward {
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

impl Job for Reward {
    fn defaults(&self, _data: Option<&str>) -> Settings {
        Settings {
            steps: Some(1000),
            batch_size: Some(16),
            learning_rate: Some(1e-3),
            eval_iters: Some(TALES_PAIRS_HELD_OUT.div_ceil(16)),
            // Its head gives rewards, and no longer text worth reading.
            sample_tokens: Some(0),
            ..crate::finetune::sft::defaults()
        }
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
    ) -> anyhow::Result<Box<dyn Source>> {
        let Some(Comparisons { name, train, held_out }) = self.comparisons.take() else {
            anyhow::bail!("nothing was read")
        };
        Ok(Box::new(PairSource::for_rewards(&name, train, held_out, &at.config)?))
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
