//! The model that a folder holds, to be verified or profiled: of a run, or from elsewhere.

use std::path::Path;

use super::failure::Usage;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::SETTINGS;
use crate::run::settings::Settings;
use crate::sample::load::Stored;

/// The model of a folder and how it is trained: as `asked`, else as its run was, else as the default preset.
///
/// # Errors
/// When another model is asked for than the folder holds; only its dropout may be another.
pub fn stored(folder: &Path, asked: &Settings) -> anyhow::Result<(TrainConfig, ModelConfig)> {
    let mut held = Stored::open(folder)?;
    held.check_values()?;
    let model = held.config;
    let own = Settings::of_model(&model);
    let other = asked.differences(&own)?.into_iter().find(|(setting, ..)| setting != "dropout");
    if let Some((setting, asked, own)) = other {
        let folder = folder.display();
        let what =
            format!("{setting} is {asked}, and {own} in {folder}: leave it out, or name a --preset for it");
        return Err(Usage(what).into());
    }
    let written = folder.join(SETTINGS);
    let run = if written.exists() { Settings::from_file(&written)? } else { Settings::default() };
    let config = asked.over(&own)?.over(&run)?.resolve()?;
    let model = ModelConfig { dropout: config.model.dropout, ..model };
    Ok((config, model))
}
