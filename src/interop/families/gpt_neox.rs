//! GPT-NeoX (Black et al. 2022): Pythia. Both halves of a block read the same stream, and rotary embeddings turn a part
//! of each head.

use serde_json::{Map, Value};

use super::decoder;
use super::family::Family;
use super::gguf::{FUSED, Gguf, NAMES};
use super::tensors::{How, Tensor};
use crate::interop::activations::{activation, activation_name};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;
use crate::models::details::Details;
use crate::nn::norm::Norm;

macro_rules! layer {
    ($name:literal) => {
        concat!("gpt_neox.layers.{}.", $name)
    };
}

pub static FAMILY: Family = Family {
    name: "gpt_neox",
    architecture: "GPTNeoXForCausalLM",
    scope: "gpt_neox.",
    read,
    write,
    tensors: &[&[
        Tensor::same("transformer.wte.weight", &["gpt_neox.embed_in.weight"]),
        Tensor::same("transformer.h.{}.ln_1.weight", &[layer!("input_layernorm.weight")]),
        Tensor::same("transformer.h.{}.ln_1.bias", &[layer!("input_layernorm.bias")]),
        Tensor::new(
            "transformer.h.{}.attn.c_attn.weight",
            &[layer!("attention.query_key_value.weight")],
            How::ByHead,
        ),
        Tensor::new(
            "transformer.h.{}.attn.c_attn.bias",
            &[layer!("attention.query_key_value.bias")],
            How::ByHead,
        ),
        Tensor::same("transformer.h.{}.attn.c_proj.weight", &[layer!("attention.dense.weight")]),
        Tensor::same("transformer.h.{}.attn.c_proj.bias", &[layer!("attention.dense.bias")]),
        Tensor::same("transformer.h.{}.ln_2.weight", &[layer!("post_attention_layernorm.weight")]),
        Tensor::same("transformer.h.{}.ln_2.bias", &[layer!("post_attention_layernorm.bias")]),
        Tensor::same("transformer.h.{}.mlp.c_fc.weight", &[layer!("mlp.dense_h_to_4h.weight")]),
        Tensor::same("transformer.h.{}.mlp.c_fc.bias", &[layer!("mlp.dense_h_to_4h.bias")]),
        Tensor::same("transformer.h.{}.mlp.c_proj.weight", &[layer!("mlp.dense_4h_to_h.weight")]),
        Tensor::same("transformer.h.{}.mlp.c_proj.bias", &[layer!("mlp.dense_4h_to_h.bias")]),
        Tensor::same("transformer.ln_f.weight", &["gpt_neox.final_layer_norm.weight"]),
        Tensor::same("transformer.ln_f.bias", &["gpt_neox.final_layer_norm.bias"]),
        Tensor::same("lm_head.weight", &["embed_out.weight"]),
    ]],
    gguf: Some(Gguf { tensors: &[FUSED, NAMES], head: true, ..Gguf::named("gptneox") }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let config = decoder::sizes(keys)?;
    keys.fixed("num_key_value_heads", config.n_head)?;
    // Older files have keys of their own for what is in `rope_parameters` today.
    let base = keys.number("rotary_emb_base", 1e4)?;
    let older = keys.number("rotary_pct", 0.25)?;
    let (rope_base, rope_scaling, share) = decoder::rope(keys, base, older)?;
    let attention_bias = Some(keys.truth("attention_bias", true)?);
    for key in ["attention_dropout", "hidden_dropout"] {
        keys.fixed(key, 0.0)?;
    }
    Ok(ModelConfig {
        bias: true,
        norm: Norm::Layer,
        norm_eps: keys.number("layer_norm_eps", 1e-5)?,
        feed_forward: activation("hidden_act", keys.word("hidden_act", "gelu")?)?,
        details: Details {
            rope_base,
            rope_scaling,
            rope_width: decoder::rope_width(&config, share)?,
            qkv_bias: attention_bias,
            attention_out_bias: attention_bias,
            parallel: keys.truth("use_parallel_residual", true)?,
            ..Details::default()
        },
        ..config
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let (mut keys, details) = (decoder::write_sizes(config), &config.details);
    keys.insert("layer_norm_eps".into(), config.norm_eps.into());
    keys.insert("hidden_act".into(), activation_name(config.feed_forward).into());
    keys.insert("attention_bias".into(), details.qkv_bias.unwrap_or(config.bias).into());
    keys.insert("use_parallel_residual".into(), details.parallel.into());
    let mut rope = decoder::write_rope(config);
    if details.rope_width == 0 {
        rope["partial_rotary_factor"] = 1.0.into();
    }
    keys.insert("rope_parameters".into(), rope);
    keys
}
