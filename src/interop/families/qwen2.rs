//! Qwen 2 and 2.5 (Yang et al. 2024): queries, keys and values have a bias.

use serde_json::{Map, Value};

use super::decoder;
use super::family::Family;
use super::gguf::{Gguf, read_windows};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;

pub static FAMILY: Family = Family {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[decoder::TENSORS],
    gguf: Some(Gguf { adapt: read_windows, ..Gguf::named("qwen2") }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let mut config = decoder::read(keys, 1e4)?;
    decoder::read_window(keys, &mut config)?;
    keys.fixed("attention_bias", true)?;
    config.details.qkv_bias = Some(true);
    Ok(config)
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = decoder::write(config);
    decoder::write_window(config, &mut keys);
    keys
}
