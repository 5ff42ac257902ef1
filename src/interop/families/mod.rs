//! The families of published models, one file each: how a `config.json` of `transformers` becomes a [`ModelConfig`] and
//! back, and under which names the tensors are stored.

mod bert;
mod decoder;
mod family;
mod gemma3;
pub mod gguf;
mod gpt_neox;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
pub(in crate::interop) mod tensors;

use crate::engine::tape::RopeScaling;
use crate::models::config::{ModelConfig, Position};
use crate::models::details::Details;
use crate::nn::lora::Lora;
use crate::nn::norm::Norm;

pub use family::Family;
pub use tensors::{Heads, How, Tensor, row};

/// All of them. A model that several can describe is written as the first.
pub static FAMILIES: [&Family; 10] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &smollm3::FAMILY,
    &gemma3::FAMILY,
    &olmo2::FAMILY,
    &phi3::FAMILY,
    &gpt_neox::FAMILY,
    &bert::FAMILY,
];

impl Family {
    /// The family of a `model_type`.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.name == name)
    }

    /// The family that has words for all of a model.
    pub fn of(config: &ModelConfig) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.has(config))
    }

    /// The same among those of one architecture in GGUF.
    pub fn of_gguf(gguf: &gguf::Gguf, config: &ModelConfig) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.gguf.as_ref() == Some(gguf) && family.has(config))
    }

    fn has(&self, config: &ModelConfig) -> bool {
        self.read(&self.describe(config)).is_ok_and(|read| are_equal(&read, config))
    }
}

/// Whether two models compute the same.
pub fn are_equal(one: &ModelConfig, other: &ModelConfig) -> bool {
    canonical(one) == canonical(other)
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
    if let RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor,
        original_max_position_embeddings: length,
    } = details.rope_scaling
        && low > 0.0
        && (length as f64 / low).fract() == 0.0
    {
        // With twice the context and twice both factors it is the same.
        details.rope_scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: high_freq_factor / low,
            original_max_position_embeddings: (length as f64 / low) as usize,
        };
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
        unused_tokens: 0,
        block_size: 0,
        dropout: 0.0,
        lora: Lora::default(),
        details,
        ..config.clone()
    }
}

fn default_scale(config: &ModelConfig) -> f32 {
    (1.0 / (config.head_size() as f64).sqrt()) as f32
}
