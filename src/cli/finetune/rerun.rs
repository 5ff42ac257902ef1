//! The first steps of a stage that a run folder holds, once more and on any device: to be verified or profiled.

use std::path::Path;

use super::job;
use super::resume::{file_at, weights_at};
use super::run::Learner;
use crate::cli::data::lessons_at;
use crate::cli::failure::Usage;
use crate::engine::device::Device;
use crate::engine::device::cpu::Cpu;
use crate::finetune::base::Base;
use crate::finetune::stage::{Method, STAGE, Stage};
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::origin::Origin;
use crate::run::settings::Settings;
use crate::train::trainer::Trainer;

/// A stage before its first step.
pub struct Rerun {
    stage: Stage,
    origin: Origin,
    pub learner: Learner,
}

impl Rerun {
    /// The stage of a run folder, with other settings where some are given; `None` where the run is no fine-tuning.
    ///
    /// # Errors
    /// When a file of the run is missing or damaged.
    pub fn open(folder: &Path, settings: &Settings) -> anyhow::Result<Option<Self>> {
        if !folder.join(STAGE).exists() {
            return Ok(None);
        }
        let stage = Stage::read(folder)?;
        let (run, origin) = (RunFolder::open(folder)?, Origin::read(folder)?);
        let config = TrainConfig::new(&settings.over(&run.settings()?)?)?;
        let learner = Learner::of_run(&run, &stage, config)?;
        Ok(Some(Self { stage, origin, learner }))
    }

    /// What the stage is, as in `dpo step`.
    pub fn name(&self) -> String {
        self.stage.method.to_string()
    }

    /// The model that the stage began with, about to learn from as much as `steps` steps need.
    ///
    /// # Errors
    /// When the base or the data are gone or have changed, or the device fails.
    pub fn trainer(&self, device: &mut dyn Device, steps: u64) -> anyhow::Result<Trainer> {
        let Learner { config, model, .. } = &self.learner;
        let Some(data) = &config.data else {
            return Err(Usage("the run's config.toml names no data".into()).into());
        };
        let mut origin = self.origin.clone();
        let data = &origin.again("data", data, None, true, lessons_at)?;
        let base = origin.again("model", &self.stage.model.to_string_lossy(), None, true, weights_at)?;
        let mut method = self.stage.method.clone();
        if let Some((part, place)) = method.named() {
            let find = if part == "reward" { weights_at } else { file_at };
            origin.again(part, &place.to_string_lossy(), None, true, find)?;
        }
        let mut job = job(&self.stage.method)?;
        job.read(data, &self.learner)?;
        job.keep((steps as usize).saturating_mul(config.examples_per_step()));
        let mut base = Base::open(Path::new(&base))?;
        // All but a policy have their batches before the first step, however they came by them.
        let source = match self.stage.method {
            Method::Ppo(_) => job.source(device, Some(&mut base), &self.learner, &mut |_, _| ())?,
            _ => job.source(&mut Cpu::<f32>::default(), Some(&mut base), &self.learner, &mut |_, _| ())?,
        };
        let trainer = Trainer::new(device, config.clone(), model.clone(), source)?;
        base.write_to(device, &trainer.parameters(), config.seed)?;
        Ok(trainer)
    }
}
