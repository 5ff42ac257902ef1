//! Phi 3 (Abdin et al. 2024): queries, keys and values in one matrix, and both of a gate in one.

use serde_json::{Map, Value};

use super::decoder::{self, layer};
use super::family::Family;
use super::gguf::{FUSED, Gguf, NAMES};
use super::tensors::{How, Tensor};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;

const GATE_UP: &[&str] = &[layer!("mlp.gate_up_proj.weight")];

pub static FAMILY: Family = Family {
    name: "phi3",
    architecture: "Phi3ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[
        &[
            Tensor::same("transformer.h.{}.attn.c_attn.weight", &[layer!("self_attn.qkv_proj.weight")]),
            Tensor::new("transformer.h.{}.mlp.c_gate.weight", GATE_UP, How::Half(0)),
            Tensor::new("transformer.h.{}.mlp.c_fc.weight", GATE_UP, How::Half(1)),
        ],
        decoder::TENSORS,
    ],
    gguf: Some(Gguf {
        tensors: &[
            &[
                Tensor::new("transformer.h.{}.mlp.c_gate.weight", &["blk.{}.ffn_up.weight"], How::Half(0)),
                Tensor::new("transformer.h.{}.mlp.c_fc.weight", &["blk.{}.ffn_up.weight"], How::Half(1)),
            ],
            FUSED,
            NAMES,
        ],
        ..Gguf::named("phi3")
    }),
};

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let norm_eps = keys.number("rms_norm_eps", 1e-5)?;
    for key in ["resid_pdrop", "embd_pdrop"] {
        keys.fixed(key, 0.0)?;
    }
    // Longer rotary embeddings, which need it, are refused by their type.
    keys.find_size("original_max_position_embeddings")?;
    let mut config = decoder::read(keys, 1e4)?;
    config.norm_eps = norm_eps;
    config.details.window = keys.find_size("sliding_window")?.unwrap_or(0);
    Ok(config)
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let (mut keys, window) = (decoder::write(config), config.details.window);
    keys.insert("sliding_window".into(), (window > 0).then_some(window).into());
    keys
}
