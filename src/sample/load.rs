//! A trained model from the folder of its run, or a published one from its folder or GGUF file.

use std::path::Path;
use std::sync::Arc;

use super::generator::{GenerateError, Generator, decode_plan, decode_width};
use crate::engine::device::{Device, DeviceError};
use crate::engine::op::OpError;
use crate::interop::peft::adapter::{Adapter, AdapterError};
use crate::models::config::{Architecture, ModelConfig, Position, SizeError};
use crate::run::model_file::{Layout, ModelError, StoredModel, read_config_for, tokenizer};
use crate::run::tensor_file::Entry;
use crate::text::tokenizer::Tokenizer;

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
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("the model does not fit together: {0}")]
    Plan(#[from] OpError),
    #[error(
        "--context {context} is more than the {rows} positions that the model has learned vectors of: give at most {rows}"
    )]
    Positions { context: usize, rows: usize },
    #[error(
        "a model of the architecture {0} has no context to choose, only Transformers have: leave out --context"
    )]
    NoContext(Architecture),
    #[error(transparent)]
    Sizes(#[from] SizeError),
    #[error(
        "a context of {context} tokens needs {cache_mib} MiB for keys and values, {needed_mib} MiB with the weights, but \
         {device} has {available_mib} MiB for it: give a smaller --context"
    )]
    ContextMemory { context: usize, cache_mib: u64, needed_mib: u64, device: String, available_mib: u64 },
}

/// The model of a folder or a GGUF file, its weights still on the disk.
pub struct Stored {
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    weights: StoredModel,
    /// Rows of a table of positions in the file.
    positions: usize,
    adapter: Option<Adapter>,
}

/// The table of positions, where a model learns one.
const POSITIONS: &str = "transformer.wpe.weight";

/// The kind of model in a folder or a GGUF file and its tokenizer, which belong together.
pub fn described(place: &Path) -> Result<(ModelConfig, Tokenizer), LoadError> {
    let tokenizer = tokenizer(place)?;
    Ok((read_config_for(place, &tokenizer)?, tokenizer))
}

impl Stored {
    pub fn open(place: &Path) -> Result<Self, LoadError> {
        Self::open_adapted(place, None)
    }

    /// The model with the adapter of another folder, as PEFT has it, merged into its weights when they are read.
    pub fn open_adapted(place: &Path, adapter: Option<&Path>) -> Result<Self, LoadError> {
        let tokenizer = tokenizer(place)?;
        let (config, weights) = StoredModel::open(place, &tokenizer)?;
        let modules = weights.layout().modules();
        let adapter = adapter.map(|adapter| Adapter::open(adapter, &config, modules)).transpose()?;
        Ok(Self { positions: config.block_size, config, tokenizer, weights, adapter })
    }

    /// How its file holds tensors.
    pub fn layout(&self) -> Layout {
        self.weights.layout()
    }

    /// Has the model see so many tokens at once, in place of as many as it was trained with.
    ///
    /// # Errors
    /// When it cannot: it has learned a vector for each position, or it is no Transformer.
    pub fn set_context(&mut self, context: usize) -> Result<(), LoadError> {
        let config = &mut self.config;
        let rows = config.block_size;
        match (config.architecture, config.position) {
            (Architecture::Transformer, Position::Learned) if context > rows => {
                return Err(LoadError::Positions { context, rows });
            }
            (Architecture::Transformer, _) => {}
            (other, _) => return Err(LoadError::NoContext(other)),
        }
        config.block_size = context;
        Ok(config.check()?)
    }

    /// Whether its file holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    /// The elements of a parameter as the tape has it.
    pub fn read(&mut self, parameter: &Entry) -> Result<Vec<f32>, LoadError> {
        if parameter.name == POSITIONS {
            let shape = [self.positions, parameter.shape.width()].into();
            let mut table = self.weights.read(&Entry { shape, ..parameter.clone() })?;
            table.truncate(parameter.shape.len());
            return Ok(table);
        }
        let mut elements = self.weights.read(parameter)?;
        if let Some(adapter) = &self.adapter {
            adapter.add(&parameter.name, &mut elements)?;
        }
        Ok(elements)
    }

    /// Whether every element of every parameter is a number.
    pub fn check_values(&mut self) -> Result<(), LoadError> {
        for (name, shape) in self.config.parameters()? {
            self.read(&Entry { name, shape })?;
        }
        Ok(())
    }
}

/// What of a model is to be other than its folder says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// The folder of an adapter to merge into the weights.
    pub adapter: Option<&'a Path>,
    /// The most tokens that it sees at once.
    pub context: Option<usize>,
}

/// Loads the model of a folder or a GGUF file onto a device.
pub fn load(device: &mut dyn Device, place: &Path) -> Result<Model, LoadError> {
    load_with(device, place, Changes::default())
}

/// The same, changed.
pub fn load_with(device: &mut dyn Device, place: &Path, changes: Changes) -> Result<Model, LoadError> {
    let mut stored = Stored::open_adapted(place, changes.adapter)?;
    if let Some(context) = changes.context {
        stored.set_context(context)?;
    }
    let weights = (stored.config.n_parameters() as u64).saturating_mul(4);
    let cache = stored.config.cache_bytes();
    device.check_memory(weights.saturating_add(cache)).map_err(|error| match (error, changes.context) {
        (DeviceError::Memory { device, needed_mib, available_mib }, Some(context)) => {
            LoadError::ContextMemory {
                context,
                cache_mib: cache.div_ceil(1 << 20),
                needed_mib,
                device,
                available_mib,
            }
        }
        (error, _) => error.into(),
    })?;
    let plan = Arc::new(decode_plan(&stored.config, decode_width(&stored.config))?);
    device.load(&plan, 0)?;
    for (name, shape, _) in plan.parameters() {
        let entry = Entry { name: name.to_owned(), shape };
        device.write(name, &stored.read(&entry)?)?;
    }
    let Stored { config, tokenizer, .. } = stored;
    Ok(Model { generator: Generator::new(config.clone()), config, tokenizer })
}
