//! What a family of published models is.

use serde_json::{Map, Value};

use super::gguf::Gguf;
use super::tensors::{Tensor, row};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;

/// A kind of published model.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub name: &'static str,
    /// What stands in `architectures` there.
    pub architecture: &'static str,
    /// What is before the names of the tensors of a model with a head.
    pub scope: &'static str,
    /// The model that the keys describe; what Lal cannot compute is an error that names the key.
    pub(super) read: fn(&mut Keys) -> Result<ModelConfig, String>,
    /// The keys that describe a model, as far as the family has words for it.
    pub(super) write: fn(&ModelConfig) -> Map<String, Value>,
    /// Where its parameters are stored: the first row that names one, of these tables in order.
    pub(super) tensors: &'static [&'static [Tensor]],
    /// The same for GGUF; `None` where Lal has no words for it.
    pub gguf: Option<Gguf>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Family {}

/// The longest context that a published model gets, in tokens: the key-value cache grows with it.
const CONTEXT: usize = 2048;

impl Family {
    /// The model that a `config.json` describes. Its `block_size` is at most 2,048 tokens; `max_positions` has what the
    /// file says.
    pub fn read(&self, json: &Value) -> Result<ModelConfig, String> {
        let mut keys = Keys::of(json)?;
        let mut config = (self.read)(&mut keys)?;
        keys.finish()?;
        config.details.max_positions = config.block_size;
        config.block_size = config.block_size.min(CONTEXT);
        Ok(config)
    }

    /// The keys of `config.json` that describe a model.
    pub fn describe(&self, config: &ModelConfig) -> Value {
        let mut keys = (self.write)(config);
        keys.insert("architectures".into(), [self.architecture].into());
        keys.insert("model_type".into(), self.name.into());
        keys.into()
    }

    /// The tables of its tensors.
    pub fn tensors(&self) -> &'static [&'static [Tensor]] {
        self.tensors
    }

    /// Where a parameter of the tape is stored: a row of its tables, and the number of its layer. `None` for what is
    /// none of the model's, such as the head of an objective.
    pub fn row(&self, parameter: &str) -> Option<(&'static Tensor, usize)> {
        row(self.tensors, parameter)
    }
}
