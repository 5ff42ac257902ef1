//! The families of published models, one file each: how a `config.json` of `transformers` becomes a [`ModelConfig`] and
//! back, and under which names the tensors are stored.

mod decoder;
mod family;
mod gemma3;
mod gpt_neox;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod tensors;

use crate::models::config::{ModelConfig, Position};
use crate::models::details::Details;
use crate::nn::norm::Norm;

pub use family::Family;
pub use tensors::{Heads, How, Tensor};

/// All of them. A model that several can describe is written as the first.
pub static FAMILIES: [&Family; 9] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &smollm3::FAMILY,
    &gemma3::FAMILY,
    &olmo2::FAMILY,
    &phi3::FAMILY,
    &gpt_neox::FAMILY,
];

impl Family {
    /// The family of a `model_type`.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.name == name)
    }

    /// The family that has words for all of a model.
    pub fn of(config: &ModelConfig) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| {
            family.read(&family.describe(config)).is_ok_and(|read| canonical(&read) == canonical(config))
        })
    }
}

/// The same model with every default filled in, and without what says nothing of its logits: two that compute the same
/// are equal.
fn canonical(config: &ModelConfig) -> ModelConfig {
    let mut details = config.details.clone();
    details.qkv_bias.get_or_insert(config.bias);
    details.attention_out_bias.get_or_insert(config.bias);
    details.mlp_bias.get_or_insert(config.bias);
    details.max_positions = 0;
    details.full_attention.sort_unstable();
    if config.position != Position::Rope {
        let Details { rope_base, rope_scaling, .. } = Details::default();
        details = Details { rope_base, rope_scaling, rope_local_base: None, no_rope: Vec::new(), ..details };
    }
    if details.rope_width == config.head_size() {
        details.rope_width = 0;
    }
    let full = (0..config.n_layer).all(|layer| details.window_of(layer) == 0);
    if full {
        (details.window, details.rope_local_base, details.full_attention) = (0, None, Vec::new());
    }
    if details.attention_scale.is_some_and(|scale| scale as f32 == default_scale(config)) {
        details.attention_scale = None;
    }
    ModelConfig {
        bias: config.bias && config.norm == Norm::Layer,
        head_size: config.head_size(),
        block_size: 0,
        dropout: 0.0,
        lora_rank: 0,
        details,
        ..config.clone()
    }
}

fn default_scale(config: &ModelConfig) -> f32 {
    (1.0 / (config.head_size() as f64).sqrt()) as f32
}
