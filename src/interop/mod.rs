//! Published models and the files of other programs.
//!
//! [`dtype`] has the number formats, [`container`] reads tensors from safetensors and [`gguf`] files, and [`writer`]
//! writes both: none of them knows what a model computes. That is in [`families`]: how a `config.json`, read by
//! [`keys`], describes a model, and which tensors hold its parameters. [`peft`] has adapters.

pub mod activations;
pub mod container;
pub mod dtype;
pub mod error;
pub mod families;
pub mod gguf;
pub mod gguf_tokenizer;
pub mod keys;
pub mod peft;
pub mod tensor;
pub mod writer;
