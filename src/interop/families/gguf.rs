//! What GGUF says of a family: its keys as those of `config.json` and back, and the names of its tensors.
//!
//! Names and keys are those that llama.cpp's `convert_hf_to_gguf.py` writes
//! (<https://github.com/ggml-org/llama.cpp>). The model itself is described by the family, from `config.json`'s keys.

mod keys;
mod names;
mod read;
mod rope_freqs;
mod write;

use serde_json::{Map, Value};

use super::tensors::Tensor;
use crate::interop::error::ContainerError;

pub use keys::GgufKeys;
pub use names::{FUSED, NAMES};
pub use read::{Described, Shapes, read, read_windows};
pub use write::{Written, write};

/// A tensor that has the factors of scaled rotary embeddings.
pub const ROPE_FREQS: &str = "rope_freqs.weight";

/// Numbers under keys without the architecture before them.
pub type Numbers = Vec<(&'static str, f64)>;

/// What is a family's own in GGUF.
#[derive(Debug)]
pub struct Gguf {
    /// `general.architecture`, which is before each key of the model.
    pub architecture: &'static str,
    /// Where parameters are stored: the first row that names one, of these tables in order.
    pub tensors: &'static [&'static [Tensor]],
    /// Whether llama.cpp wants a head of its own where it is the token embedding.
    pub head: bool,
    /// Whether rotary embeddings turn rows next to each other, in a whole head.
    pub(super) paired: bool,
    /// Changes the keys of `config.json` to those of the family.
    pub(super) adapt: fn(&mut Map<String, Value>, &mut GgufKeys) -> Result<(), ContainerError>,
    /// Numbers under keys of its own, from the keys of `config.json`.
    pub(super) more: fn(&Map<String, Value>) -> Numbers,
    /// Of layers with a window, every so many-th has none where nothing is said; 0 for all have it.
    pub(super) global_every: u64,
}

impl Gguf {
    /// With the names that most have.
    pub(super) const fn named(architecture: &'static str) -> Self {
        Self {
            architecture,
            tensors: &[NAMES],
            head: false,
            paired: false,
            adapt: |_, _| Ok(()),
            more: |_| Vec::new(),
            global_every: 0,
        }
    }

    /// With the rows of queries and keys in pairs.
    pub(super) const fn paired(architecture: &'static str) -> Self {
        Self { tensors: &[names::PAIRED, NAMES], paired: true, ..Self::named(architecture) }
    }
}

impl PartialEq for Gguf {
    fn eq(&self, other: &Self) -> bool {
        self.architecture == other.architecture
    }
}

impl Eq for Gguf {}

/// GPT-2, which is no family of `families`: Lal writes it itself.
pub static GPT2: Gguf = Gguf { tensors: &[FUSED, NAMES], adapt: read::rename_gpt2, ..Gguf::named("gpt2") };
