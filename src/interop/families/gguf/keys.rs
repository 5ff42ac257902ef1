//! The keys of a GGUF file that describe its model, read one by one. One that is not read is refused by name.

use std::collections::HashSet;

use crate::interop::error::ContainerError;
use crate::interop::gguf::metadata::Metadata;
use crate::interop::gguf::value::{FromValue, Value};

/// Keys of a model that say nothing of its logits.
const IRRELEVANT: [&str; 3] =
    ["rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout"];

/// The keys after `general.architecture`, and which of them have been read.
pub struct GgufKeys<'a> {
    pub metadata: &'a Metadata,
    architecture: &'a str,
    read: HashSet<&'static str>,
}

impl<'a> GgufKeys<'a> {
    pub fn of(metadata: &'a Metadata, architecture: &'a str) -> Self {
        Self { metadata, architecture, read: HashSet::new() }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The value of a key, if it is there.
    pub fn find<T: FromValue<'a>>(&mut self, key: &'static str) -> Result<Option<T>, ContainerError> {
        self.read.insert(key);
        self.metadata.find(&self.full(key))
    }

    /// The value of a key that must be there.
    pub fn get<T: FromValue<'a>>(&mut self, key: &'static str) -> Result<T, ContainerError> {
        self.read.insert(key);
        self.metadata.get(&self.full(key))
    }

    /// A number as it was before it was rounded to F32: the shortest that rounds to it.
    pub fn decimal(&mut self, key: &'static str) -> Result<Option<f64>, ContainerError> {
        let number: Option<f64> = self.find(key)?;
        Ok(number.map(|number| (number as f32).to_string().parse().unwrap_or(number)))
    }

    pub fn wrong(&self, key: &str, what: impl Into<String>) -> ContainerError {
        self.metadata.wrong(&self.full(key), what.into())
    }

    /// Refuses keys of the model that were not read, but for those that stand for "not there".
    pub fn finish(self) -> Result<(), ContainerError> {
        for (key, value) in self.metadata.entries() {
            let Some(own) = key.strip_prefix(self.architecture).and_then(|key| key.strip_prefix('.')) else {
                continue;
            };
            if !self.read.contains(own) && !IRRELEVANT.contains(&own) && !says_nothing(value) {
                let shown = serde_json::to_string(value).unwrap_or_default();
                let what = format!(
                    "is {shown:.60}, and Lal does not know it: the model would be another without it"
                );
                return Err(self.metadata.wrong(key, what));
            }
        }
        Ok(())
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => !truth,
        Value::Array(array) => array.is_empty(),
        number => usize::from_value(number) == Some(0),
    }
}
