//! Gemma 3 (Gemma team 2025), of text alone: norms around each half, local and global layers with rotary embeddings of
//! their own, scaled embeddings.

mod gguf;

use serde_json::{Map, Value, json};

use super::decoder::{self, layer};
use super::family::Family;
use super::gguf::Gguf;
use super::tensors::{How, Tensor};
use crate::engine::tape::RopeScaling;
use crate::interop::keys::Keys;
use crate::models::config::{ModelConfig, NormPlace, Position};
use crate::models::details::Details;
use crate::nn::attention::QkNorm;
use crate::nn::norm::Norm;

pub static FAMILY: Family = Family {
    name: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    scope: "model.",
    read,
    write,
    tensors: &[
        &[
            added("transformer.h.{}.ln_1.weight", &[layer!("input_layernorm.weight")]),
            added("transformer.h.{}.ln_1_branch.weight", &[layer!("post_attention_layernorm.weight")]),
            added("transformer.h.{}.ln_2.weight", &[layer!("pre_feedforward_layernorm.weight")]),
            added("transformer.h.{}.ln_2_branch.weight", &[layer!("post_feedforward_layernorm.weight")]),
            added("transformer.h.{}.attn.q_norm.weight", &[layer!("self_attn.q_norm.weight")]),
            added("transformer.h.{}.attn.k_norm.weight", &[layer!("self_attn.k_norm.weight")]),
            added("transformer.ln_f.weight", &["model.norm.weight"]),
        ],
        decoder::TENSORS,
    ],
    gguf: Some(Gguf {
        adapt: gguf::adapt,
        more: gguf::more,
        global_every: gguf::GLOBAL_EVERY,
        ..Gguf::named("gemma3")
    }),
};

const fn added(ours: &'static str, theirs: &'static [&'static str; 1]) -> Tensor {
    Tensor::new(ours, theirs, How::AddedToOne)
}

fn read(keys: &mut Keys) -> Result<ModelConfig, String> {
    let [n_kv_head, head_size] = [("num_key_value_heads", 4), ("head_dim", 256)]
        .map(|(key, default)| keys.find_size(key).map(|size| size.unwrap_or(default)));
    let sizes = decoder::sizes(keys)?;
    let (n_layer, n_embd) = (sizes.n_layer, sizes.n_embd);
    for (key, only) in [("attention_bias", json!(false)), ("attention_dropout", json!(0.0))] {
        keys.fixed(key, only)?;
    }
    keys.fixed("use_bidirectional_attention", false)?;
    let pattern = keys.find_size("sliding_window_pattern")?.or(keys.find_size("_sliding_window_pattern")?);
    let pattern = pattern.unwrap_or(6).max(1);
    let global = |layer: &usize| (layer + 1).is_multiple_of(pattern);
    let full = decoder::full_layers(keys, n_layer)?;
    let scalar = keys.number("query_pre_attn_scalar", 256.0)?;
    let (rope_local_base, rope_base, rope_scaling) = rope(keys)?;
    Ok(ModelConfig {
        n_kv_head: n_kv_head?,
        head_size: head_size?,
        position: Position::Rope,
        tied: keys.truth("tie_word_embeddings", true)?,
        norm: Norm::Rms,
        norm_eps: keys.number("rms_norm_eps", 1e-6)?,
        norm_place: NormPlace::Sandwich,
        feed_forward: decoder::gate(
            "hidden_activation",
            keys.word("hidden_activation", "gelu_pytorch_tanh")?,
        )?,
        details: Details {
            rope_base,
            rope_scaling,
            rope_local_base: Some(rope_local_base),
            window: keys.find_size("sliding_window")?.unwrap_or(4096),
            full_attention: full.unwrap_or_else(|| (0..n_layer).filter(global).collect()),
            qk_norm: Some(QkNorm::Head),
            embedding_scale: Some((n_embd as f64).sqrt()),
            attention_scale: Some(1.0 / scalar.sqrt()),
            ..Details::default()
        },
        ..sizes
    })
}

/// The base of local layers, and the base and the scaling of global ones.
fn rope(keys: &mut Keys) -> Result<(f64, f64, RopeScaling), String> {
    let local = keys.number("rope_local_base_freq", 1e4)?;
    let global = keys.number("rope_theta", 1e6)?;
    let older = keys.object("rope_scaling")?;
    let newer = keys.object("rope_parameters")?;
    if older.is_some() && newer.is_some() {
        return Err(decoder::TWICE.into());
    }
    let Some(mut both) = newer else {
        let scaling =
            older.map(|mut keys| decoder::scaling(&mut keys).and_then(|found| keys.finish().map(|()| found)));
        return Ok((local, global, scaling.transpose()?.unwrap_or_default()));
    };
    let mut of = |kind, base| -> Result<(f64, RopeScaling), String> {
        let Some(mut keys) = both.object(kind)? else { return Ok((base, RopeScaling::None)) };
        let found = (keys.number("rope_theta", base)?, decoder::scaling(&mut keys)?);
        keys.finish()?;
        Ok(found)
    };
    let ((local, scaling), (global, of_global)) =
        (of("sliding_attention", local)?, of("full_attention", global)?);
    both.finish()?;
    match scaling {
        RopeScaling::None => Ok((local, global, of_global)),
        _ => {
            Err("the rotary embeddings of sliding_attention are scaled, and Lal scales only full_attention's"
                .into())
        }
    }
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let (mut keys, details) = (decoder::write(config), &config.details);
    let local = details.rope_local_base.unwrap_or(details.rope_base);
    let own = json!({
        "rope_parameters": {
            "sliding_attention": decoder::write_scaling(local, RopeScaling::None),
            "full_attention": decoder::write_scaling(details.rope_base, details.rope_scaling),
        },
        "hidden_activation": keys.remove("hidden_act"),
        "sliding_window": details.window,
        "layer_types": decoder::write_layers(config),
        "query_pre_attn_scalar": details.attention_scale.map_or(config.head_size() as f64, |scale| {
            // A whole number where it was one before the root was taken.
            let scalar = 1.0 / (scale * scale);
            if (scalar - scalar.round()).abs() < 1e-9 * scalar { scalar.round() } else { scalar }
        }),
    });
    keys.extend(own.as_object().cloned().unwrap_or_default());
    keys
}
