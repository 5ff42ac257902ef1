//! What can be wrong with a file of tensors.

use std::path::PathBuf;

use crate::files::FileError;
use crate::interop::dtype::Dtype;

/// Why tensors cannot be read or written, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} is cut short: it should have {expected} bytes and has {found}; copy it again, or go back to \
         another checkpoint"
    )]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    #[error("{path} is no safetensors file ({what}): give the folder of a run, or copy the file again")]
    NotSafetensors { path: PathBuf, what: String },
    #[error("{path} is no GGUF file that Lal can read ({what}): copy it again, or convert it anew")]
    NotGguf { path: PathBuf, what: String },
    #[error("{path} and its parts do not belong together ({what}): copy all files of the model again")]
    Shards { path: PathBuf, what: String },
    #[error("{path}: the key {key} {what}")]
    Key { path: PathBuf, key: String, what: String },
    #[error(
        "{path} has no tensor {name}: it is of another model; use the config.json or config.toml saved with it"
    )]
    Missing { path: PathBuf, name: String },
    #[error("{path}: {name} has elements of type {found}, and only {} can be read", Dtype::names(&Dtype::ALL))]
    Type { path: PathBuf, name: String, found: String },
    #[error(
        "{path}: {name} is {value} at [{index}]: a training that diverged or a damaged file; go back to another \
         checkpoint, or copy the file again"
    )]
    NoNumber { path: PathBuf, name: String, value: f32, index: String },
    #[error("element {at} of {name} is {value}, and a model that is not finite is not saved")]
    NotFinite { name: String, at: usize, value: f32 },
    #[error("{name} has a number that {} cannot hold: choose BF16 or F32", dtype.name())]
    TooLarge { name: String, dtype: Dtype },
    #[error("{name} is in {}, a format that is only read: choose F32, F16, BF16 or Q8_0", dtype.name())]
    Unencoded { name: String, dtype: Dtype },
    #[error("{name} has {found} elements where its shape {} has {}", shown(shape), shape.iter().product::<usize>())]
    Length { name: String, shape: Vec<usize>, found: usize },
    #[error("{path} cannot hold the tensor {name}: {what}")]
    NotWritten { path: PathBuf, name: String, what: String },
}

/// A shape as a person reads it: `(12, 64)`.
pub fn shown(shape: &[usize]) -> String {
    let dims: Vec<_> = shape.iter().map(usize::to_string).collect();
    format!("({})", dims.join(", "))
}
