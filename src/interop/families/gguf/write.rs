//! From the keys of `config.json`, as Lal writes them, to those of a GGUF file.

use serde_json::{Map, Value as Json};

use super::read::GPT2_KEYS;
use super::rope_freqs::{Rule, factors};
use super::{GPT2, Gguf};
use crate::interop::gguf::value::Value;

/// What a GGUF file says of a model.
#[derive(Debug, Default)]
pub struct Written {
    /// Keys without the architecture before them.
    pub keys: Vec<(&'static str, Value)>,
    /// The elements of [`ROPE_FREQS`](super::ROPE_FREQS), where it has them.
    pub rope_freqs: Option<Vec<f32>>,
    /// What llama.cpp computes otherwise.
    pub remarks: Vec<String>,
}

impl Written {
    fn size(&mut self, key: &'static str, json: &Json) -> Result<(), String> {
        if let Some(size) = json.as_u64() {
            let size =
                u32::try_from(size).map_err(|_| format!("{key} is {size}, more than GGUF can hold"))?;
            self.keys.push((key, size.into()));
        }
        Ok(())
    }

    fn number(&mut self, key: &'static str, json: &Json) {
        if let Some(number) = json.as_f64() {
            self.keys.push((key, (number as f32).into()));
        }
    }
}

/// The keys of a model whose `config.json` is `json`.
pub fn write(gguf: &Gguf, json: &Json) -> Result<Written, String> {
    let mut json = json.as_object().cloned().unwrap_or_default();
    if *gguf == GPT2 {
        for (ours, theirs) in GPT2_KEYS {
            if let Some(value) = json.remove(ours) {
                json.insert(theirs.into(), value);
            }
        }
    }
    let of = |key: &str| json.get(key).cloned().unwrap_or_default();
    let size = |key: &str| of(key).as_u64().unwrap_or_default();
    let mut written = Written::default();
    let inner = match of("intermediate_size") {
        Json::Null => (4 * size("hidden_size")).into(),
        inner => inner,
    };
    for (key, value) in [
        ("block_count", of("num_hidden_layers")),
        ("context_length", of("max_position_embeddings")),
        ("embedding_length", of("hidden_size")),
        ("feed_forward_length", inner),
        ("attention.head_count", of("num_attention_heads")),
        ("attention.head_count_kv", of("num_key_value_heads")),
        ("vocab_size", of("vocab_size")),
    ] {
        written.size(key, &value)?;
    }
    written.number("attention.layer_norm_rms_epsilon", &of("rms_norm_eps"));
    written.number("attention.layer_norm_epsilon", &of("layer_norm_eps"));
    written.number("attention.layer_norm_epsilon", &of("layer_norm_epsilon"));
    if let Some(parallel) = of("use_parallel_residual").as_bool() {
        written.keys.push(("use_parallel_residual", parallel.into()));
    }
    if *gguf != GPT2 {
        let head = match size("head_dim") {
            0 => size("hidden_size").checked_div(size("num_attention_heads")).unwrap_or(0),
            head => head,
        };
        written.size("attention.key_length", &head.into())?;
        written.size("attention.value_length", &head.into())?;
        rope(&mut written, &of("rope_parameters"), head)?;
    }
    window(&mut written, gguf, &json)?;
    for (key, number) in (gguf.more)(&json) {
        written.number(key, &number.into());
    }
    Ok(written)
}

fn rope(written: &mut Written, rope: &Json, head: u64) -> Result<(), String> {
    let rope = rope.get("full_attention").unwrap_or(rope);
    let share = rope["partial_rotary_factor"].as_f64().unwrap_or(1.0);
    written.size("rope.dimension_count", &((head as f64 * share) as u64).into())?;
    written.number("rope.freq_base", &rope["rope_theta"]);
    let number = |key: &str| rope[key].as_f64().unwrap_or_default();
    match rope["rope_type"].as_str() {
        Some("linear") => {
            written.keys.push(("rope.scaling.type", "linear".into()));
            written.number("rope.scaling.factor", &rope["factor"]);
        }
        Some("llama3") => {
            let rule = Rule {
                factor: number("factor"),
                high_freq_factor: number("high_freq_factor"),
                original: number("original_max_position_embeddings") as usize,
            };
            let (base, low) = (number("rope_theta"), number("low_freq_factor"));
            written.rope_freqs = Some(factors(head as usize / 2, base, low, rule));
            written
                .size("rope.scaling.original_context_length", &rope["original_max_position_embeddings"])?;
        }
        _ => {}
    }
    Ok(())
}

fn window(written: &mut Written, gguf: &Gguf, json: &Map<String, Json>) -> Result<(), String> {
    let window = json.get("sliding_window").and_then(Json::as_u64).unwrap_or_default();
    if window == 0 || json.get("use_sliding_window").is_some_and(|used| *used == false) {
        return Ok(());
    }
    let n_layer = json["num_hidden_layers"].as_u64().unwrap_or_default();
    let all = || vec![true; n_layer as usize];
    let types = json.get("layer_types").and_then(Json::as_array);
    let each: Vec<bool> =
        types.map_or_else(all, |types| types.iter().map(|kind| kind == "sliding_attention").collect());
    if !each.contains(&true) {
        return Ok(());
    }
    written.size("attention.sliding_window", &window.into())?;
    let expected = match gguf.global_every {
        0 => all(),
        every => (1..=n_layer).map(|layer| !layer.is_multiple_of(every)).collect(),
    };
    if each != expected {
        written.keys.push(("attention.sliding_window_pattern", each.into()));
    }
    if gguf.global_every == 0 {
        written.remarks.push(format!(
            "llama.cpp has no window in {}, and attends to all tokens: of texts longer than {window} it computes others",
            gguf.architecture
        ));
    }
    Ok(())
}
