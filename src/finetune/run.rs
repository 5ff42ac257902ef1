//! A stage in memory, on any device.

use super::base::Base;
use super::stage::{Context, Setup, Stage};
use super::stages::Method;
use crate::engine::device::Device;
use crate::run::settings::Settings;
use crate::train::source::Measures;
use crate::train::trainer::Trainer;

/// A stage after its last step; the device holds its model.
pub struct Trained {
    pub stage: Box<dyn Stage>,
    pub setup: Setup,
    pub trainer: Trainer,
    /// The figures of each step, as the source measures them.
    pub measures: Vec<Measures>,
}

/// Trains a stage to its last step on a device that holds no model yet. The settings that are `asked` for name the
/// data; those that they do not name are the stage's defaults. `held_out` questions or pairs about tales are held out.
pub fn run(
    method: &Method,
    base: &mut Base,
    reward: Option<&mut Base>,
    device: &mut dyn Device,
    asked: &Settings,
    held_out: usize,
) -> anyhow::Result<Trained> {
    method.check()?;
    let setup = Setup { held_out, ..Setup::new(base, &**method, asked)? };
    let mut stage = setup.load(&**method)?;
    let mut context = Context { device, base: Some(base), reward, progress: &mut |_, _| () };
    let source = stage.source(&setup, &mut context)?;
    let mut trainer = setup.trainer(source, &mut context)?;
    let mut measures = Vec::new();
    while trainer.step < trainer.config.steps {
        trainer.submit(device)?;
        while let Some(report) = trainer.report(device, true)? {
            measures.push(report.measures);
        }
    }
    Ok(Trained { stage, setup, trainer, measures })
}
