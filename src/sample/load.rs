//! A trained model from the folder of its run.

use std::path::Path;
use std::sync::Arc;

use super::generator::{GenerateError, Generator, decode_plan, decode_width};
use crate::engine::device::{Device, DeviceError};
use crate::engine::op::OpError;
use crate::engine::plan::{Home, Place};
use crate::models::config::ModelConfig;
use crate::run::model_file::{self, Layout, MODEL, ModelError, TokenizerMark};
use crate::run::tensor_file::{Entry, TensorFile};
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
    layout: Layout,
    file: TensorFile,
}

impl Stored {
    /// # Errors
    /// When a file is missing or cut short, or of another tokenizer.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let (config, mark) = model_file::read_config(folder)?;
        let tokenizer = Tokenizer::load(folder)?;
        if let Some(mark) = mark {
            mark.check(&TokenizerMark::of(&tokenizer), &folder.join(MODEL))?;
        }
        let path = folder.join(MODEL);
        let file = TensorFile::open(&path).map_err(ModelError::from)?;
        // A file bounds the model that can be in it.
        let (expected, found) = (config.n_parameters() as u64, file.elements());
        if expected > found {
            return Err(ModelError::TooFew { path, expected, found }.into());
        }
        Ok(Self { layout: Layout::of(&config), config, tokenizer, file })
    }

    /// Whether its file holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.names().iter().any(|known| known == name)
    }

    /// Whether a parameter is there as the tape wants it.
    ///
    /// # Errors
    /// When it is missing or of another shape.
    pub fn check(&self, parameter: &Entry) -> Result<(), ModelError> {
        Ok(model_file::check(&self.file, self.layout, parameter)?)
    }

    /// The elements of a parameter as the tape has it.
    ///
    /// # Errors
    /// When it is missing or of another shape.
    pub fn read(&mut self, parameter: &Entry) -> Result<Vec<f32>, ModelError> {
        Ok(model_file::read(&mut self.file, self.layout, parameter)?)
    }
}

/// Loads the model of a run folder onto a device.
///
/// # Errors
/// When a file is missing, cut short, of other shapes or of another tokenizer, or the device lacks memory.
pub fn load(device: &mut dyn Device, folder: &Path) -> Result<Model, LoadError> {
    let mut stored = Stored::open(folder)?;
    device.check_memory((stored.config.n_parameters() as u64).saturating_mul(4))?;
    let plan = Arc::new(decode_plan(&stored.config, decode_width(&stored.config))?);
    let parameter = |place: &Place| match &place.home {
        Home::Persistent { name, parameter: true, .. } => {
            Some(Entry { name: name.clone(), shape: place.spec.shape })
        }
        _ => None,
    };
    let parameters: Vec<Entry> = plan.places.iter().filter_map(parameter).collect();
    parameters.iter().try_for_each(|entry| stored.check(entry))?;
    device.load(&plan, 0)?;
    for entry in parameters {
        device.write(&entry.name, &stored.read(&entry)?)?;
    }
    let Stored { config, tokenizer, .. } = stored;
    Ok(Model { generator: Generator::new(config.clone()), config, tokenizer })
}
