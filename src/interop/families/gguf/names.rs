//! The names of tensors in GGUF, which are the same in nearly all architectures.

use crate::interop::families::tensors::{How, Tensor};

macro_rules! layer {
    ($name:literal) => {
        concat!("blk.{}.", $name)
    };
}

const QKV: [&[&str]; 2] = [
    &[layer!("attn_q.weight"), layer!("attn_k.weight"), layer!("attn_v.weight")],
    &[layer!("attn_q.bias"), layer!("attn_k.bias"), layer!("attn_v.bias")],
];

/// What all have.
pub const NAMES: &[Tensor] = &[
    Tensor::same("transformer.wte.weight", &["token_embd.weight"]),
    Tensor::same("transformer.wpe.weight", &["position_embd.weight"]),
    Tensor::same("transformer.h.{}.ln_1.weight", &[layer!("attn_norm.weight")]),
    Tensor::same("transformer.h.{}.ln_1.bias", &[layer!("attn_norm.bias")]),
    Tensor::new("transformer.h.{}.attn.c_attn.weight", QKV[0], How::Joined),
    Tensor::new("transformer.h.{}.attn.c_attn.bias", QKV[1], How::Joined),
    Tensor::same("transformer.h.{}.attn.q_norm.weight", &[layer!("attn_q_norm.weight")]),
    Tensor::same("transformer.h.{}.attn.k_norm.weight", &[layer!("attn_k_norm.weight")]),
    Tensor::same("transformer.h.{}.attn.c_proj.weight", &[layer!("attn_output.weight")]),
    Tensor::same("transformer.h.{}.attn.c_proj.bias", &[layer!("attn_output.bias")]),
    Tensor::same("transformer.h.{}.ln_1_branch.weight", &[layer!("post_attention_norm.weight")]),
    Tensor::same("transformer.h.{}.ln_2.weight", &[layer!("ffn_norm.weight")]),
    Tensor::same("transformer.h.{}.ln_2.bias", &[layer!("ffn_norm.bias")]),
    Tensor::same("transformer.h.{}.mlp.c_gate.weight", &[layer!("ffn_gate.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_gate.bias", &[layer!("ffn_gate.bias")]),
    Tensor::same("transformer.h.{}.mlp.c_fc.weight", &[layer!("ffn_up.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_fc.bias", &[layer!("ffn_up.bias")]),
    Tensor::same("transformer.h.{}.mlp.c_proj.weight", &[layer!("ffn_down.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_proj.bias", &[layer!("ffn_down.bias")]),
    Tensor::same("transformer.h.{}.ln_2_branch.weight", &[layer!("post_ffw_norm.weight")]),
    Tensor::same("transformer.ln_f.weight", &["output_norm.weight"]),
    Tensor::same("transformer.ln_f.bias", &["output_norm.bias"]),
    Tensor::same("lm_head.weight", &["output.weight"]),
];

/// Queries, keys and values in one tensor.
pub const FUSED: &[Tensor] = &[
    Tensor::same("transformer.h.{}.attn.c_attn.weight", &[layer!("attn_qkv.weight")]),
    Tensor::same("transformer.h.{}.attn.c_attn.bias", &[layer!("attn_qkv.bias")]),
];

/// Rows of queries and keys in pairs.
pub const PAIRED: &[Tensor] = &[
    Tensor::new("transformer.h.{}.attn.c_attn.weight", QKV[0], How::JoinedInPairs),
    Tensor::new("transformer.h.{}.attn.c_attn.bias", QKV[1], How::JoinedInPairs),
];
