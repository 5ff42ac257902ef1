//! From the keys of a GGUF file to those of `config.json`.

use serde_json::{Map, Value, json};

use super::rope_freqs::{Rule, rule};
use super::{GPT2, Gguf, GgufKeys, ROPE_FREQS};
use crate::interop::error::ContainerError;
use crate::interop::families::{FAMILIES, Family};
use crate::interop::gguf::metadata::Metadata;
use crate::models::config::SIZES;

/// The shape of a tensor of the file, by its name.
pub type Shapes<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// A model as its family describes it.
#[derive(Debug)]
pub struct Described {
    /// Its `config.json`.
    pub json: Value,
    pub gguf: &'static Gguf,
}

/// Reads what a file says of its model; `rope_freqs` are the elements of [`ROPE_FREQS`], if it has them.
///
/// # Errors
/// When a key is missing, of another type, or one that Lal does not know: the error names it.
pub fn read(
    metadata: &Metadata,
    shapes: Shapes,
    rope_freqs: Option<&[f32]>,
) -> Result<Described, ContainerError> {
    let kind = metadata.find("general.type")?.unwrap_or("model");
    if kind != "model" {
        return Err(metadata.wrong("general.type", format!("is {kind:?}, and Lal reads models alone")));
    }
    if let Some(parts) = metadata.find::<usize>("split.count")?.filter(|&parts| parts > 1) {
        let what = format!("is {parts}: join the parts with llama-gguf-split --merge");
        return Err(metadata.wrong("split.count", what));
    }
    let architecture: &str = metadata.get("general.architecture")?;
    let named = |family: &&Family| family.gguf.as_ref().is_some_and(|gguf| gguf.architecture == architecture);
    let families: Vec<_> = FAMILIES.into_iter().filter(named).collect();
    let gguf = match families.first().and_then(|family| family.gguf.as_ref()) {
        Some(gguf) => gguf,
        None if architecture == GPT2.architecture => &GPT2,
        None => {
            let known: Vec<_> =
                FAMILIES.iter().filter_map(|family| Some(family.gguf.as_ref()?.architecture)).collect();
            let known = known.join(", ");
            let what = format!("is {architecture:?}, and Lal reads gpt2, {known}");
            return Err(metadata.wrong("general.architecture", what));
        }
    };
    let mut keys = GgufKeys::of(metadata, architecture);
    let mut json = describe(&mut keys, gguf, shapes, rope_freqs)?;
    (gguf.adapt)(&mut json, &mut keys)?;
    keys.finish()?;
    let mut json = Value::from(json);
    // Mistral is written as llama, with a window.
    let family = families.iter().find(|family| family.read(&json).is_ok()).or(families.first());
    json["model_type"] = family.map_or("gpt2", |family| family.name).into();
    Ok(Described { json, gguf })
}

fn describe(
    keys: &mut GgufKeys,
    gguf: &Gguf,
    shapes: Shapes,
    rope_freqs: Option<&[f32]>,
) -> Result<Map<String, Value>, ContainerError> {
    let n_layer: usize = keys.get("block_count")?;
    let most = *SIZES[2].1.end();
    if n_layer > most {
        return Err(keys.wrong("block_count", format!("is {n_layer}, more than {most}")));
    }
    let (n_embd, n_head): (usize, usize) = (keys.get("embedding_length")?, keys.get("attention.head_count")?);
    let width = n_embd.checked_div(n_head).unwrap_or(0);
    let head = keys.find("attention.key_length")?.unwrap_or(width);
    let value_head = keys.find("attention.value_length")?.unwrap_or(width);
    if value_head != head {
        let what = format!(
            "makes values of {value_head} channels, and keys have {head}: Lal has one width for both"
        );
        return Err(keys.wrong("attention.value_length", what));
    }
    let rows = shapes("token_embd.weight").and_then(|shape| shape.first().copied());
    let vocab_size = keys.find("vocab_size")?.or(rows).unwrap_or(0);
    if let Some(rows) = rows.filter(|&rows| rows != vocab_size) {
        let what = format!("is {vocab_size}, and token_embd.weight has {rows} rows");
        return Err(keys.wrong("vocab_size", what));
    }
    if keys.find("attention.causal")? == Some(false) {
        return Err(keys.wrong("attention.causal", "is false, and Lal reads causal models alone"));
    }
    let has = |name: &str| shapes(name).is_some();
    let json = json!({
        "num_hidden_layers": n_layer,
        "max_position_embeddings": keys.get::<usize>("context_length")?,
        "hidden_size": n_embd,
        "intermediate_size": keys.get::<usize>("feed_forward_length")?,
        "num_attention_heads": n_head,
        "num_key_value_heads": keys.find("attention.head_count_kv")?.unwrap_or(n_head),
        "head_dim": head,
        "vocab_size": vocab_size,
        "tie_word_embeddings": !has("output.weight"),
        "attention_bias": has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        "mlp_bias": has("blk.0.ffn_gate.bias"),
        "use_parallel_residual": keys.find::<bool>("use_parallel_residual")?,
    });
    let mut json = json.as_object().cloned().unwrap_or_default();
    json.retain(|_, value| !value.is_null());
    let epsilons = [
        ("rms_norm_eps", keys.decimal("attention.layer_norm_rms_epsilon")?),
        ("layer_norm_eps", keys.decimal("attention.layer_norm_epsilon")?),
    ];
    if epsilons.iter().all(|(_, epsilon)| epsilon.is_none()) {
        return Err(keys.wrong("attention.layer_norm_rms_epsilon", "is missing, which has a number"));
    }
    json.extend(epsilons.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
    if *gguf != GPT2 {
        json.insert("rope_parameters".into(), rope(keys, gguf, head, rope_freqs)?);
    }
    if let Some(window) = keys.find::<usize>("attention.sliding_window")?.filter(|&window| window > 0) {
        json.insert("sliding_window".into(), window.into());
        if let Some(types) = layer_types(keys, n_layer)? {
            json.insert("layer_types".into(), types);
        }
    }
    Ok(json)
}

/// `rope_parameters` of a head of so many channels.
fn rope(
    keys: &mut GgufKeys,
    gguf: &Gguf,
    head: usize,
    rope_freqs: Option<&[f32]>,
) -> Result<Value, ContainerError> {
    let base = keys.decimal("rope.freq_base")?.unwrap_or(1e4);
    let width = keys.find("rope.dimension_count")?.unwrap_or(head);
    if width > head || gguf.paired && width != head {
        let what = format!("is {width}, and heads of {} have {head} channels", gguf.architecture);
        return Err(keys.wrong("rope.dimension_count", what));
    }
    let share = (width as f64 + if head.is_multiple_of(width.max(1)) { 0.0 } else { 0.25 }) / head as f64;
    let mut rope = json!({ "rope_type": "default", "rope_theta": base, "partial_rotary_factor": share });
    let factor = keys.decimal("rope.scaling.factor")?.unwrap_or(1.0);
    match keys.find("rope.scaling.type")?.unwrap_or("linear") {
        "none" => {}
        "linear" if factor == 1.0 || factor == 0.0 => {}
        "linear" => {
            rope["rope_type"] = "linear".into();
            rope["factor"] = factor.into();
        }
        other => {
            return Err(keys.wrong("rope.scaling.type", format!("is {other:?}, and Lal has none and linear")));
        }
    }
    let Some(found) = rope_freqs else { return Ok(rope) };
    let original = keys.find("rope.scaling.original_context_length")?;
    let known =
        rule(found, base, original).filter(|_| found.len() == width / 2 && rope["rope_type"] == "default");
    let Some(Rule { factor, high_freq_factor, original }) = known else {
        let what = "has factors that are not those of Llama 3's scaling, the only ones that Lal has";
        return Err(keys.metadata.wrong(ROPE_FREQS, what.into()));
    };
    let scaling = json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": high_freq_factor,
        "original_max_position_embeddings": original,
    });
    rope.as_object_mut()
        .into_iter()
        .for_each(|rope| rope.extend(scaling.as_object().cloned().unwrap_or_default()));
    Ok(rope)
}

/// Which layers have the window: each by itself, or all but every so many-th.
fn layer_types(keys: &mut GgufKeys, n_layer: usize) -> Result<Option<Value>, ContainerError> {
    const KEY: &str = "attention.sliding_window_pattern";
    let name = |has: bool| if has { "sliding_attention" } else { "full_attention" };
    if let Ok(each) = keys.find::<&[bool]>(KEY) {
        return Ok(each.map(|each| each.iter().map(|&has| name(has)).collect()));
    }
    match keys.get::<usize>(KEY)? {
        0 => Err(keys.wrong(KEY, "is 0, and should be 1 or more: every so many layers one has no window")),
        every => Ok(Some((1..=n_layer).map(|layer| name(!layer.is_multiple_of(every))).collect())),
    }
}

/// For families that have windows only where `use_sliding_window` says so.
pub fn read_windows(json: &mut Map<String, Value>, _: &mut GgufKeys) -> Result<(), ContainerError> {
    if json.contains_key("sliding_window") {
        let n_layer = json["num_hidden_layers"].as_u64().unwrap_or_default();
        json.entry("layer_types").or_insert_with(|| (0..n_layer).map(|_| "sliding_attention").collect());
        json.insert("use_sliding_window".into(), true.into());
    }
    Ok(())
}

/// GPT-2's own names, and those that the families share.
pub(super) const GPT2_KEYS: [(&str, &str); 8] = [
    ("vocab_size", "vocab_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_positions", "max_position_embeddings"),
    ("n_embd", "hidden_size"),
    ("n_inner", "intermediate_size"),
    ("n_head", "num_attention_heads"),
    ("tie_word_embeddings", "tie_word_embeddings"),
    ("layer_norm_epsilon", "layer_norm_eps"),
];

pub(super) fn rename_gpt2(json: &mut Map<String, Value>, keys: &mut GgufKeys) -> Result<(), ContainerError> {
    if json["num_key_value_heads"] != json["num_attention_heads"] {
        return Err(
            keys.wrong("attention.head_count_kv", "is not the number of heads, which GPT-2 has of each")
        );
    }
    for key in ["head_dim", "num_key_value_heads", "attention_bias", "mlp_bias"] {
        json.remove(key);
    }
    for (ours, theirs) in GPT2_KEYS {
        if let Some(value) = json.remove(theirs) {
            json.insert(ours.into(), value);
        }
    }
    Ok(())
}
