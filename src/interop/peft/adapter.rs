//! An adapter that PEFT wrote, for a model of Lal's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{self, Scale};
use super::modules::{Module, Modules};
use super::{CONFIG, WEIGHTS, factor};
use crate::files::{self, FileError, SETTINGS_BYTES};
use crate::interop::container::{Container, ContainerError, shown};
use crate::interop::families::{Heads, How};
use crate::models::config::ModelConfig;
use crate::nn::lora::{Lora, merge};

/// Why an adapter cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tensors(#[from] ContainerError),
    #[error("{path} describes no adapter that Lal can compute: {what}")]
    Config { path: PathBuf, what: String },
    #[error(
        "{path} has a tensor {name}, which is no factor of a linear layer of this model: give the adapter of the model"
    )]
    Unused { path: PathBuf, name: String },
    #[error("{path}: {name} is {found}, and {expected} in this model: give the adapter of the model")]
    Shape { path: PathBuf, name: String, found: String, expected: String },
    #[error("{0} has no factors of any layer")]
    Empty(PathBuf),
    #[error("{0} is there in place of {WEIGHTS}: load it with PEFT, and save it with safetensors")]
    OtherFile(PathBuf),
}

/// An open adapter, its factors still on the disk.
#[derive(Debug)]
pub struct Adapter {
    file: Container,
    scale: Scale,
    modules: Vec<Module>,
    /// Of the model that it is for; its adapters are this one's.
    config: ModelConfig,
}

impl Adapter {
    /// Opens the adapter in a folder, which must be of this model, whose layers have these names.
    pub fn open(folder: &Path, config: &ModelConfig, modules: Modules) -> Result<Self, AdapterError> {
        let path = folder.join(CONFIG);
        let bytes = files::read(&path, SETTINGS_BYTES).map_err(FileError::at("read", &path))?;
        let scale = serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string());
        let scale = scale.and_then(|json| config::read(&json));
        let scale = scale.map_err(|what| AdapterError::Config { path, what })?;
        let (weights, older) = (folder.join(WEIGHTS), folder.join("adapter_model.bin"));
        if !weights.exists() && older.exists() {
            return Err(AdapterError::OtherFile(older));
        }
        let file = Container::safetensors(&weights)?;
        let modules = modules.all(config);
        let sites = modules.iter().filter(|module| is_there(&file, module, config)).map(|module| module.site);
        let lora = Lora { rank: scale.rank, scale: scale.factor(), dropout: 0.0, sites: sites.collect() };
        let adapter = Self { file, scale, modules, config: ModelConfig { lora, ..config.clone() } };
        adapter.check()?;
        Ok(adapter)
    }

    /// Its rank, its scale, and the sites that any block has factors of.
    pub fn lora(&self) -> Lora {
        self.config.lora
    }

    /// α, which divided by the rank is the scale.
    pub fn alpha(&self) -> f64 {
        let Scale { rank, alpha, by_root } = self.scale;
        if by_root { alpha * (rank as f64).sqrt() } else { alpha }
    }

    /// Whether every tensor is a factor of a layer, of its shape, and has the other factor with it.
    fn check(&self) -> Result<(), AdapterError> {
        let path = || self.file.path().to_owned();
        let mut expected = std::collections::HashMap::new();
        for module in &self.modules {
            let Some([n_in, n_out]) = self.config.site(module.site) else { continue };
            for name in (0..self.config.n_layer).map(|layer| module.of(layer)) {
                let [a, b] = ["A", "B"].map(|which| factor(&name, which));
                expected.insert(a.clone(), ([self.scale.rank, n_in], b.clone()));
                expected.insert(b, ([n_out, self.scale.rank], a));
            }
        }
        if self.file.tensors().is_empty() {
            return Err(AdapterError::Empty(path()));
        }
        for tensor in self.file.tensors() {
            let Some((shape, other)) = expected.get(&tensor.name) else {
                return Err(AdapterError::Unused { path: path(), name: tensor.name.clone() });
            };
            if tensor.shape != shape {
                let (name, [found, expected]) = (tensor.name.clone(), [&tensor.shape[..], shape].map(shown));
                return Err(AdapterError::Shape { path: path(), name, found, expected });
            }
            self.file.check_type(tensor)?;
            self.file.tensor(other)?;
        }
        Ok(())
    }

    /// Adds what the adapter has for a parameter of the tape to its `elements`.
    pub fn add(&self, parameter: &str, elements: &mut [f32]) -> Result<(), AdapterError> {
        for part in self.config.adapters_of(parameter) {
            let Some([a, b]) = self.factors(&part.scope)? else { continue };
            let (Lora { rank, scale, .. }, n_in) = (self.config.lora, a.len() / self.scale.rank);
            let rows = &mut elements[part.row * n_in..][..part.of_b.len() * n_in];
            merge(rows, &a, &b[part.of_b.start * rank..part.of_b.end * rank], rank, scale);
        }
        Ok(())
    }

    /// A and B of the adapter at a scope of the tape, `transformer.h.3.mlp.c_fc`, as the tape has them.
    pub fn factors(&self, scope: &str) -> Result<Option<[Vec<f32>; 2]>, AdapterError> {
        let found = self.modules.iter().find_map(|module| {
            let block = scope.strip_suffix(module.site.scope())?.strip_suffix('.')?;
            Some((module, block.strip_prefix("transformer.h.")?.parse().ok()?))
        });
        let Some((module, layer)) = found else { return Ok(None) };
        let name = module.of(layer);
        let [Some(a), Some(b)] = ["A", "B"].map(|which| self.file.find(&factor(&name, which))) else {
            return Ok(None);
        };
        let how = if module.by_head { How::ByHead } else { How::Same };
        let b = how.join(Heads::of(&self.config), vec![self.file.elements(b)?]);
        Ok(Some([self.file.elements(a)?, b]))
    }
}

/// Whether any block has a factor of this module.
fn is_there(file: &Container, module: &Module, config: &ModelConfig) -> bool {
    (0..config.n_layer).any(|layer| file.find(&factor(&module.of(layer), "A")).is_some())
}
