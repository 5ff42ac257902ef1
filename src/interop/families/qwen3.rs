//! Qwen 3 (Yang et al. 2025): queries and keys are normalised by head.

use serde_json::{Map, Value};

use super::decoder;
use super::family::Family;
use super::gguf::{Gguf, read_windows};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;
use crate::nn::attention::QkNorm;

pub static FAMILY: Family = Family {
    name: "qwen3",
    architecture: "Qwen3ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[decoder::TENSORS],
    gguf: Some(Gguf { adapt: read_windows, ..Gguf::named("qwen3") }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    // Where nothing is said of it, `transformers` takes 128.
    let head_size = keys.find_size("head_dim")?.unwrap_or(128);
    let mut config = decoder::read(keys, 1e4)?;
    config.head_size = if head_size * config.n_head == config.n_embd { 0 } else { head_size };
    decoder::read_window(keys, &mut config)?;
    let bias = Some(keys.truth("attention_bias", false)?);
    (config.details.qkv_bias, config.details.attention_out_bias) = (bias, bias);
    config.details.qk_norm = Some(QkNorm::Head);
    Ok(config)
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = decoder::write(config);
    decoder::write_window(config, &mut keys);
    keys.insert("attention_bias".into(), config.details.qkv_bias.unwrap_or(config.bias).into());
    keys
}
