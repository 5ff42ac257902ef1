//! SmolLM3 (Bakouch et al. 2025): some layers have no rotary embeddings (Yang et al. 2025).

use serde_json::{Map, Value};

use super::family::Family;
use super::gguf::{Gguf, read_windows};
use super::{decoder, llama};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;

pub static FAMILY: Family = Family {
    name: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[decoder::TENSORS],
    gguf: Some(Gguf { adapt: read_windows, ..Gguf::paired("smollm3") }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let mut config = decoder::read(keys, 2e6)?;
    // Here a head is tied unless the file says otherwise, and groups are of four heads.
    config.tied = keys.truth("tie_word_embeddings", true)?;
    config.n_kv_head = keys.find_size("num_key_value_heads")?.unwrap_or(4);
    decoder::read_window(keys, &mut config)?;
    config.details = llama::read_biases(keys, config.details)?;
    let interval = keys.find_size("no_rope_layer_interval")?.unwrap_or(4);
    config.details.no_rope = match keys.get("no_rope_layers") {
        Some(layers) => without(layers, config.n_layer)?,
        None => (0..config.n_layer).filter(|layer| (layer + 1).is_multiple_of(interval)).collect(),
    };
    Ok(config)
}

/// The layers at which the list has 0.
fn without(layers: &Value, n_layer: usize) -> Result<Vec<usize>, String> {
    let known = layers.as_array().filter(|list| list.len() == n_layer);
    let is = |value: &Value| value.as_u64().filter(|&x| x < 2);
    let turned: Option<Vec<u64>> = known.and_then(|list| list.iter().map(is).collect());
    let turned = turned
        .ok_or_else(|| format!("no_rope_layers is {layers}, not 0 or 1 for each of {n_layer} layers"))?;
    Ok((0..n_layer).filter(|&layer| turned[layer] == 0).collect())
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = decoder::write(config);
    decoder::write_window(config, &mut keys);
    llama::write_biases(config, &mut keys);
    let layers: Vec<u8> =
        (0..config.n_layer).map(|layer| (!config.details.no_rope.contains(&layer)).into()).collect();
    keys.insert("no_rope_layers".into(), layers.into());
    keys
}
