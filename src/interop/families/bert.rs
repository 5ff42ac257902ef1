//! BERT (Devlin et al. 2019) as an encoder: all-MiniLM, BGE and other models that make vectors of texts.

use serde_json::{Map, Value};

use super::family::Family;
use super::tensors::{How, Tensor};
use crate::interop::activations::{activation, activation_name};
use crate::interop::keys::Keys;
use crate::models::config::{ModelConfig, NormPlace, Position};
use crate::models::details::Details;
use crate::nn::norm::Norm;

macro_rules! layer {
    ($name:literal) => {
        concat!("encoder.layer.{}.", $name)
    };
}

pub static FAMILY: Family = Family {
    name: "bert",
    architecture: "BertModel",
    scope: "bert.",
    gguf: None,
    read,
    write,
    tensors: &[&[
        Tensor::same("transformer.wte.weight", &["embeddings.word_embeddings.weight"]),
        Tensor::new(
            "transformer.wpe.weight",
            &["embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"],
            How::WithFirstRow,
        ),
        Tensor::same("transformer.ln_e.weight", &["embeddings.LayerNorm.weight"]),
        Tensor::same("transformer.ln_e.bias", &["embeddings.LayerNorm.bias"]),
        Tensor::new(
            "transformer.h.{}.attn.c_attn.weight",
            &[
                layer!("attention.self.query.weight"),
                layer!("attention.self.key.weight"),
                layer!("attention.self.value.weight"),
            ],
            How::Joined,
        ),
        Tensor::new(
            "transformer.h.{}.attn.c_attn.bias",
            &[
                layer!("attention.self.query.bias"),
                layer!("attention.self.key.bias"),
                layer!("attention.self.value.bias"),
            ],
            How::Joined,
        ),
        Tensor::same("transformer.h.{}.attn.c_proj.weight", &[layer!("attention.output.dense.weight")]),
        Tensor::same("transformer.h.{}.attn.c_proj.bias", &[layer!("attention.output.dense.bias")]),
        Tensor::same("transformer.h.{}.ln_1.weight", &[layer!("attention.output.LayerNorm.weight")]),
        Tensor::same("transformer.h.{}.ln_1.bias", &[layer!("attention.output.LayerNorm.bias")]),
        Tensor::same("transformer.h.{}.mlp.c_fc.weight", &[layer!("intermediate.dense.weight")]),
        Tensor::same("transformer.h.{}.mlp.c_fc.bias", &[layer!("intermediate.dense.bias")]),
        Tensor::same("transformer.h.{}.mlp.c_proj.weight", &[layer!("output.dense.weight")]),
        Tensor::same("transformer.h.{}.mlp.c_proj.bias", &[layer!("output.dense.bias")]),
        Tensor::same("transformer.h.{}.ln_2.weight", &[layer!("output.LayerNorm.weight")]),
        Tensor::same("transformer.h.{}.ln_2.bias", &[layer!("output.LayerNorm.bias")]),
    ]],
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let (vocab_size, block_size) = (keys.size("vocab_size")?, keys.size("max_position_embeddings")?);
    let [n_layer, n_head] = [keys.size("num_hidden_layers")?, keys.size("num_attention_heads")?];
    keys.fixed("position_embedding_type", "absolute")?;
    keys.fixed("add_cross_attention", false)?;
    // What is zeroed in training, which this model is not trained by.
    for key in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
        keys.find_number(key)?;
    }
    // The head that fills in tokens is not read.
    keys.truth("tie_word_embeddings", true)?;
    Ok(ModelConfig {
        n_inner: keys.size("intermediate_size")?,
        bias: true,
        norm: Norm::Layer,
        norm_eps: keys.number("layer_norm_eps", 1e-12)?,
        norm_place: NormPlace::Post,
        feed_forward: activation("hidden_act", keys.word("hidden_act", "gelu")?)?,
        position: Position::Learned,
        causal: false,
        details: Details {
            embedding_norm: true,
            encoder: true,
            token_types: keys.find_size("type_vocab_size")?.unwrap_or(2),
            ..Details::default()
        },
        ..ModelConfig::gpt(vocab_size, block_size, n_layer, n_head, keys.size("hidden_size")?)
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let keys = serde_json::json!({
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.block_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_inner,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.feed_forward),
        "type_vocab_size": config.details.token_types,
    });
    keys.as_object().cloned().unwrap_or_default()
}
