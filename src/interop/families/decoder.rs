//! What Llama and its kin have in common: their keys, and where their tensors are stored.

use serde_json::{Map, Value, json};

use super::tensors::{How, Tensor};
use crate::engine::tape::RopeScaling;
use crate::interop::keys::Keys;
use crate::models::config::{ModelConfig, Position, SIZES};
use crate::models::details::Details;
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;

/// A decoder of rotary embeddings, RMS norms before each half, and gates.
pub fn read(keys: &mut Keys, rope_base: f64) -> Result<ModelConfig, String> {
    let config = sizes(keys)?;
    let (rope_base, rope_scaling, share) = rope(keys, rope_base, 1.0)?;
    keys.fixed("attention_dropout", 0.0)?;
    let n_head = config.n_head;
    Ok(ModelConfig {
        n_kv_head: keys.find_size("num_key_value_heads")?.unwrap_or(n_head),
        norm: Norm::Rms,
        norm_eps: keys.number("rms_norm_eps", 1e-6)?,
        feed_forward: gate("hidden_act", keys.word("hidden_act", "silu")?)?,
        details: Details {
            rope_base,
            rope_scaling,
            rope_width: rope_width(&config, share)?,
            ..Details::default()
        },
        ..config
    })
}

/// The sizes of a decoder of rotary embeddings.
pub fn sizes(keys: &mut Keys) -> Result<ModelConfig, String> {
    let (vocab_size, block_size) = (keys.size("vocab_size")?, keys.size("max_position_embeddings")?);
    let [n_layer, n_head] = [keys.size("num_hidden_layers")?, keys.size("num_attention_heads")?];
    let n_embd = keys.size("hidden_size")?;
    // Before lists of them are made.
    let most = *SIZES[2].1.end();
    if n_layer > most {
        return Err(format!("num_hidden_layers is {n_layer}, more than {most}"));
    }
    let head_size = keys.find_size("head_dim")?.unwrap_or(0);
    Ok(ModelConfig {
        head_size: if head_size.checked_mul(n_head) == Some(n_embd) { 0 } else { head_size },
        n_inner: keys.size("intermediate_size")?,
        position: Position::Rope,
        tied: keys.truth("tie_word_embeddings", false)?,
        ..ModelConfig::gpt(vocab_size, block_size, n_layer, n_head, n_embd)
    })
}

/// The function of a gate.
pub fn gate(key: &str, name: &str) -> Result<FeedForward, String> {
    match name {
        "silu" | "swish" => Ok(FeedForward::Swiglu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu_python_tanh" | "gelu_accurate" => {
            Ok(FeedForward::Geglu)
        }
        _ => Err(format!("{key} is {name:?}, and Lal has gates of silu and gelu_pytorch_tanh")),
    }
}

/// The base of rotary embeddings, how they are scaled, and the share of a head that is turned; by the keys of newer
/// files (`rope_parameters`) or of older ones (`rope_theta`, `rope_scaling`, `partial_rotary_factor`), and where
/// neither says it as given.
pub fn rope(keys: &mut Keys, base: f64, share: f64) -> Result<(f64, RopeScaling, f64), String> {
    let base = keys.number("rope_theta", base)?;
    let share = keys.number("partial_rotary_factor", share)?;
    let mut keys = match (keys.object("rope_parameters")?, keys.object("rope_scaling")?) {
        (None, None) => return Ok((base, RopeScaling::None, share)),
        (Some(keys), None) | (None, Some(keys)) => keys,
        (Some(_), Some(_)) => return Err(TWICE.into()),
    };
    let found =
        (keys.number("rope_theta", base)?, scaling(&mut keys)?, keys.number("partial_rotary_factor", share)?);
    keys.finish()?;
    Ok(found)
}

pub const TWICE: &str =
    "rope_parameters and rope_scaling are both there: keep the one that the model was trained with";

/// What `rope_type` says, or in older files `type`.
pub fn scaling(keys: &mut Keys) -> Result<RopeScaling, String> {
    let older = keys.word("type", "default")?;
    match keys.word("rope_type", older)? {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: positive(keys, "factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: positive(keys, "factor")?,
            low_freq_factor: positive(keys, "low_freq_factor")?,
            high_freq_factor: positive(keys, "high_freq_factor")?,
            original_max_position_embeddings: keys.size("original_max_position_embeddings")?,
        }),
        other => Err(format!("rope_type is {other:?}, and Lal has default, linear and llama3")),
    }
}

fn positive(keys: &mut Keys, key: &'static str) -> Result<f64, String> {
    match keys.find_number(key)? {
        Some(value) if value > 0.0 && value.is_finite() => Ok(value),
        Some(value) => Err(format!("{key} of the rotary embeddings is {value}, not above 0")),
        None => Err(format!("{key} of the rotary embeddings is missing")),
    }
}

/// Channels of a head that are turned; 0 for all.
pub fn rope_width(config: &ModelConfig, share: f64) -> Result<usize, String> {
    if share == 1.0 {
        return Ok(0);
    }
    if !(0.0..1.0).contains(&share) {
        return Err(format!("partial_rotary_factor is {share}, not a share above 0"));
    }
    let head = config.head_size.max(config.n_embd / config.n_head.max(1));
    match (head as f64 * share) as usize {
        0 => Err(format!("partial_rotary_factor is {share}, which leaves nothing of a head to be turned")),
        width => Ok(width),
    }
}

/// The keys that [`read`] reads.
pub fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut keys = write_sizes(config);
    keys.insert("num_key_value_heads".into(), config.n_kv_head.into());
    keys.insert("head_dim".into(), config.head_size().into());
    keys.insert("rms_norm_eps".into(), config.norm_eps.into());
    let function = if config.feed_forward == FeedForward::Geglu { "gelu_pytorch_tanh" } else { "silu" };
    keys.insert("hidden_act".into(), function.into());
    keys.insert("attention_dropout".into(), 0.0.into());
    keys.insert("rope_parameters".into(), write_rope(config));
    keys
}

/// The keys that [`sizes`] reads, but for `head_dim`.
pub fn write_sizes(config: &ModelConfig) -> Map<String, Value> {
    let keys = json!({
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.details.max_positions.max(config.block_size),
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_inner,
        "tie_word_embeddings": config.tied,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
    });
    keys.as_object().expect("it is written as an object").clone()
}

/// `rope_parameters`.
pub fn write_rope(config: &ModelConfig) -> Value {
    let details = &config.details;
    let mut rope = write_scaling(details.rope_base, details.rope_scaling);
    if details.rope_width > 0 {
        let head = config.head_size();
        // A share that makes so many channels of it when it is rounded down.
        rope["partial_rotary_factor"] = ((details.rope_width as f64 + 0.25) / head as f64).into();
        if head.is_multiple_of(details.rope_width) {
            rope["partial_rotary_factor"] = (details.rope_width as f64 / head as f64).into();
        }
    }
    rope
}

pub fn write_scaling(base: f64, scaling: RopeScaling) -> Value {
    let mut rope = match scaling {
        RopeScaling::None => json!({ "rope_type": "default" }),
        scaling => json!(scaling),
    };
    rope["rope_theta"] = base.into();
    rope
}

/// Layers of `layer_types` by whether they attend to all before them, or to a window.
pub fn full_layers(keys: &mut Keys, n_layer: usize) -> Result<Option<Vec<usize>>, String> {
    let Some(types) = keys.get("layer_types") else { return Ok(None) };
    let types = types.as_array().ok_or_else(|| format!("layer_types is {types}, not a list"))?;
    if types.len() != n_layer {
        return Err(format!("layer_types has {} entries for {n_layer} layers", types.len()));
    }
    let mut full = Vec::new();
    for (layer, name) in types.iter().enumerate() {
        match name.as_str() {
            Some("full_attention") => full.push(layer),
            Some("sliding_attention") => {}
            _ => {
                return Err(format!(
                    "layer_types has {name}, and Lal has full_attention and sliding_attention"
                ));
            }
        }
    }
    Ok(Some(full))
}

/// `layer_types` of a model.
pub fn write_layers(config: &ModelConfig) -> Value {
    let name =
        |layer| if config.details.window_of(layer) == 0 { "full_attention" } else { "sliding_attention" };
    (0..config.n_layer).map(name).collect()
}

/// `sliding_window` with `use_sliding_window`, `max_window_layers` and `layer_types`, as Qwen and SmolLM3 have them.
pub fn read_window(keys: &mut Keys, config: &mut ModelConfig) -> Result<(), String> {
    let is_used = keys.truth("use_sliding_window", false)?;
    let window = keys.find_size("sliding_window")?.unwrap_or(0);
    let first = keys.find_size("max_window_layers")?.unwrap_or(28);
    let full = full_layers(keys, config.n_layer)?;
    if is_used && window > 0 {
        config.details.window = window;
        config.details.full_attention = full.unwrap_or_else(|| (0..first.min(config.n_layer)).collect());
    } else if full.is_some_and(|full| full.len() < config.n_layer) {
        return Err("layer_types has sliding_attention, and use_sliding_window is not true".into());
    }
    Ok(())
}

pub fn write_window(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let window = config.details.window;
    keys.insert("use_sliding_window".into(), (window > 0).into());
    keys.insert("sliding_window".into(), (window > 0).then_some(window).into());
    keys.insert("layer_types".into(), write_layers(config));
}

macro_rules! layer {
    ($name:literal) => {
        concat!("model.layers.{}.", $name)
    };
}
pub(super) use layer;

/// Llama's, with what its kin add.
pub const TENSORS: &[Tensor] = &[
    Tensor::same("transformer.wte.weight", &["model.embed_tokens.weight"]),
    Tensor::same("transformer.h.{}.ln_1.weight", &[layer!("input_layernorm.weight")]),
    Tensor::new(
        "transformer.h.{}.attn.c_attn.weight",
        &[
            layer!("self_attn.q_proj.weight"),
            layer!("self_attn.k_proj.weight"),
            layer!("self_attn.v_proj.weight"),
        ],
        How::Joined,
    ),
    Tensor::new(
        "transformer.h.{}.attn.c_attn.bias",
        &[layer!("self_attn.q_proj.bias"), layer!("self_attn.k_proj.bias"), layer!("self_attn.v_proj.bias")],
        How::Joined,
    ),
    Tensor::same("transformer.h.{}.attn.q_norm.weight", &[layer!("self_attn.q_norm.weight")]),
    Tensor::same("transformer.h.{}.attn.k_norm.weight", &[layer!("self_attn.k_norm.weight")]),
    Tensor::same("transformer.h.{}.attn.c_proj.weight", &[layer!("self_attn.o_proj.weight")]),
    Tensor::same("transformer.h.{}.attn.c_proj.bias", &[layer!("self_attn.o_proj.bias")]),
    Tensor::same("transformer.h.{}.ln_2.weight", &[layer!("post_attention_layernorm.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_gate.weight", &[layer!("mlp.gate_proj.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_gate.bias", &[layer!("mlp.gate_proj.bias")]),
    Tensor::same("transformer.h.{}.mlp.c_fc.weight", &[layer!("mlp.up_proj.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_fc.bias", &[layer!("mlp.up_proj.bias")]),
    Tensor::same("transformer.h.{}.mlp.c_proj.weight", &[layer!("mlp.down_proj.weight")]),
    Tensor::same("transformer.h.{}.mlp.c_proj.bias", &[layer!("mlp.down_proj.bias")]),
    Tensor::same("transformer.ln_f.weight", &["model.norm.weight"]),
    Tensor::same("lm_head.weight", &["lm_head.weight"]),
];
