//! Mistral (Jiang et al. 2023): Llama with a window.

use serde_json::{Map, Value};

use super::decoder;
use super::family::Family;
use super::gguf::Gguf;
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;

pub static FAMILY: Family = Family {
    name: "mistral",
    architecture: "MistralForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[decoder::TENSORS],
    gguf: Some(Gguf::paired("llama")),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let mut config = decoder::read(keys, 1e4)?;
    // Where nothing is said of it, `transformers` takes 4096; `null` is none.
    config.details.window =
        if keys.has("sliding_window") { keys.find_size("sliding_window")?.unwrap_or(0) } else { 4096 };
    Ok(config)
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let (mut keys, window) = (decoder::write(config), config.details.window);
    keys.insert("sliding_window".into(), (window > 0).then_some(window).into());
    keys
}
