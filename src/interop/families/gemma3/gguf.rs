//! Gemma 3 in GGUF, which leaves a part of what it is to who reads it.

use serde_json::{Map, Value, json};

use crate::engine::tape::RopeScaling;
use crate::interop::error::ContainerError;
use crate::interop::families::decoder;
use crate::interop::families::gguf::{GgufKeys, Numbers};

/// Every sixth layer is global, where GGUF does not say.
pub const GLOBAL_EVERY: u64 = 6;
/// The base of local layers there.
const LOCAL_BASE: f64 = 1e4;

/// What queries are divided by the root of, where GGUF does not say: the width of a head, of the 27B model that of the
/// embedding per head.
fn scalar(json: &Map<String, Value>) -> f64 {
    let size = |key: &str| json[key].as_u64().unwrap_or_default();
    let is_27b = size("num_hidden_layers") == 62;
    (if is_27b { size("hidden_size") / size("num_attention_heads").max(1) } else { size("head_dim") }) as f64
}

/// From GGUF's keys to `config.json`'s.
pub fn adapt(json: &mut Map<String, Value>, keys: &mut GgufKeys) -> Result<(), ContainerError> {
    let scale: Option<f64> = keys.find("attention.scale")?;
    let scalar = scale.map_or_else(|| scalar(json), |scale| 1.0 / (scale * scale));
    // It was a whole number before its root was rounded.
    let is_whole = (scalar - scalar.round()).abs() < 1e-5 * scalar;
    json.insert("query_pre_attn_scalar".into(), if is_whole { scalar.round() } else { scalar }.into());

    let local = keys.decimal("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE);
    let mut global = json.remove("rope_parameters").unwrap_or_default();
    if let Some(global) = global.as_object_mut().filter(|global| global["partial_rotary_factor"] == 1.0) {
        global.remove("partial_rotary_factor");
    }
    let local = decoder::write_scaling(local, RopeScaling::None);
    json.insert("rope_parameters".into(), json!({ "sliding_attention": local, "full_attention": global }));

    let n_layer = json["num_hidden_layers"].as_u64().unwrap_or_default();
    let has_windows = json.contains_key("sliding_window");
    let of = |layer: u64| {
        if has_windows && !layer.is_multiple_of(GLOBAL_EVERY) {
            "sliding_attention"
        } else {
            "full_attention"
        }
    };
    json.entry("layer_types").or_insert_with(|| (1..=n_layer).map(of).collect());
    Ok(())
}

/// From `config.json`'s keys to GGUF's.
pub fn more(json: &Map<String, Value>) -> Numbers {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let local = number(&json["rope_parameters"]["sliding_attention"]["rope_theta"]);
    let own = number(&json["query_pre_attn_scalar"]);
    let base = (local != LOCAL_BASE).then_some(("rope.freq_base_swa", local));
    let scale = (own != scalar(json)).then(|| ("attention.scale", 1.0 / own.sqrt()));
    base.into_iter().chain(scale).collect()
}
