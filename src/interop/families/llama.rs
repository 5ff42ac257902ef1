//! Llama (Touvron et al. 2023; Dubey et al. 2024): SmolLM2, TinyLlama, Llama 3.

use serde_json::{Map, Value};

use super::decoder;
use super::family::Family;
use super::gguf::Gguf;
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;
use crate::models::details::Details;

pub static FAMILY: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[decoder::TENSORS],
    gguf: Some(Gguf::paired("llama")),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let config = decoder::read(keys, 1e4)?;
    Ok(ModelConfig { details: read_biases(keys, config.details.clone())?, ..config })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = decoder::write(config);
    write_biases(config, &mut keys);
    keys
}

/// `attention_bias`, of all four matrices, and `mlp_bias`.
pub(super) fn read_biases(keys: &mut Keys, details: Details) -> Result<Details, String> {
    let attention = Some(keys.truth("attention_bias", false)?);
    let mlp_bias = Some(keys.truth("mlp_bias", false)?);
    Ok(Details { qkv_bias: attention, attention_out_bias: attention, mlp_bias, ..details })
}

pub(super) fn write_biases(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let details = &config.details;
    keys.insert("attention_bias".into(), details.qkv_bias.unwrap_or(config.bias).into());
    keys.insert("mlp_bias".into(), details.mlp_bias.unwrap_or(config.bias).into());
}
