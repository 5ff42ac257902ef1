//! A model in training on a text, all in memory: what `lal train` does, without a run folder.

use super::pretraining::pretraining;
use super::trainer::{TrainError, Trainer};
use crate::engine::device::Device;
use crate::run::config_error::ConfigError;
use crate::run::settings::Settings;
use crate::text::dataset::{Dataset, DatasetError};
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// Why there is nothing to train.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Prepares a run of these settings over `text`, which errors call `name`; the tokenizer is of their making.
pub fn on_text(
    device: &mut dyn Device,
    settings: &Settings,
    name: &str,
    text: &str,
) -> Result<(Trainer, Tokenizer), SetupError> {
    let config = settings.resolve()?;
    let tokenizer = config.tokenizer(text)?;
    let dataset = Dataset::new(name, text, &tokenizer)?;
    dataset.check(config.model.block_size)?;
    let model = config.model(tokenizer.vocab_size());
    let source = pretraining(&config, &model, dataset).map_err(DatasetError::from)?;
    Ok((Trainer::new(device, config, model, source)?, tokenizer))
}
