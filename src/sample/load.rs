//! A trained model from the folder of its run.

use std::path::Path;
use std::sync::Arc;

use super::generator::{GenerateError, Generator, decode_plan, decode_width};
use crate::engine::device::{Device, DeviceError};
use crate::engine::op::OpError;
use crate::models::config::ModelConfig;
use crate::run::model_file::{ModelError, StoredModel, read_config_for};
use crate::run::tensor_file::Entry;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

/// A model on a device, ready to write.
pub struct Model {
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    pub generator: Generator,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("the model does not fit together: {0}")]
    Plan(#[from] OpError),
}

/// The model of a run folder, its weights still on the disk.
pub struct Stored {
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    weights: StoredModel,
}

/// The kind of model in a run folder and its tokenizer, which belong together.
pub fn described(folder: &Path) -> Result<(ModelConfig, Tokenizer), LoadError> {
    let tokenizer = Tokenizer::load(folder)?;
    Ok((read_config_for(folder, &tokenizer)?, tokenizer))
}

impl Stored {
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let tokenizer = Tokenizer::load(folder)?;
        let (config, weights) = StoredModel::open(folder, &tokenizer)?;
        Ok(Self { config, tokenizer, weights })
    }

    /// Whether its file holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    /// The elements of a parameter as the tape has it.
    pub fn read(&mut self, parameter: &Entry) -> Result<Vec<f32>, ModelError> {
        self.weights.read(parameter)
    }

    /// Whether every element of every parameter is a number.
    pub fn check_values(&mut self) -> Result<(), LoadError> {
        for (name, shape) in self.config.parameters()? {
            self.read(&Entry { name, shape })?;
        }
        Ok(())
    }
}

/// Loads the model of a run folder onto a device.
pub fn load(device: &mut dyn Device, folder: &Path) -> Result<Model, LoadError> {
    let mut stored = Stored::open(folder)?;
    device.check_memory((stored.config.n_parameters() as u64).saturating_mul(4))?;
    let plan = Arc::new(decode_plan(&stored.config, decode_width(&stored.config))?);
    device.load(&plan, 0)?;
    for (name, shape, _) in plan.parameters() {
        let entry = Entry { name: name.to_owned(), shape };
        device.write(name, &stored.read(&entry)?)?;
    }
    let Stored { config, tokenizer, .. } = stored;
    Ok(Model { generator: Generator::new(config.clone()), config, tokenizer })
}
