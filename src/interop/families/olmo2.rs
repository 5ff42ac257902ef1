//! OLMo 2 (OLMo team 2024): what each half adds is normalised, and queries and keys, over all heads.

use serde_json::{Map, Value};

use super::decoder::{self, layer};
use super::family::Family;
use super::gguf::Gguf;
use super::tensors::Tensor;
use crate::interop::keys::Keys;
use crate::models::config::{ModelConfig, NormPlace};
use crate::nn::attention::QkNorm;

pub static FAMILY: Family = Family {
    name: "olmo2",
    architecture: "Olmo2ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[
        &[
            Tensor::same("transformer.h.{}.ln_1_branch.weight", &[layer!("post_attention_layernorm.weight")]),
            Tensor::same(
                "transformer.h.{}.ln_2_branch.weight",
                &[layer!("post_feedforward_layernorm.weight")],
            ),
        ],
        decoder::TENSORS,
    ],
    gguf: Some(Gguf { head: true, ..Gguf::named("olmo2") }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let norm_eps = keys.number("rms_norm_eps", 1e-5)?;
    let config = decoder::read(keys, 1e4)?;
    let bias = Some(keys.truth("attention_bias", false)?);
    let mut details = config.details;
    (details.qkv_bias, details.attention_out_bias, details.qk_norm) = (bias, bias, Some(QkNorm::Token));
    Ok(ModelConfig { norm_place: NormPlace::Branch, norm_eps, details, ..config })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = decoder::write(config);
    keys.insert("attention_bias".into(), config.details.qkv_bias.unwrap_or(config.bias).into());
    keys
}
