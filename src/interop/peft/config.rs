//! `adapter_config.json`.

use serde_json::{Value, json};

use crate::interop::keys::Keys;

/// What an adapter is multiplied by, and its rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub rank: usize,
    pub alpha: f64,
    /// Whether alpha is divided by √rank (Kalajdzievski 2023).
    pub by_root: bool,
}

impl Scale {
    pub fn factor(self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.by_root { rank.sqrt() } else { rank }) as f32
    }
}

/// What the keys of PEFT's `LoraConfig` say. A key that would change what the adapter computes, and that Lal has not,
/// is refused by name.
pub(super) fn read(json: &Value) -> Result<Scale, String> {
    let mut keys = Keys::of(json)?;
    keys.fixed("peft_type", "LORA")?;
    keys.fixed("task_type", "CAUSAL_LM")?;
    keys.fixed("bias", "none")?;
    for key in ["use_dora", "use_qalora", "lora_bias", "ensure_weight_tying"] {
        keys.fixed(key, false)?;
    }
    match keys.get("init_lora_weights") {
        // With these the weights of the base are used unchanged.
        None | Some(Value::Bool(_)) => {}
        Some(Value::String(name)) if ["gaussian", "orthogonal", "eva"].contains(&name.as_str()) => {}
        Some(other) => {
            return Err(format!(
                "init_lora_weights is {other}, which changes the base's weights: convert the adapter with PEFT's \
                 save_pretrained(…, path_initial_model_for_weight_conversion=…)"
            ));
        }
    }
    // The names and shapes of the tensors say the same; the rest is for training.
    for key in [
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "eva_config",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
    ] {
        keys.get(key);
    }
    let by_root = keys.truth("use_rslora", false)?;
    let (rank, alpha) = (keys.size("r")?, keys.number("lora_alpha", 8.0)?);
    keys.finish()?;
    if !(1..=1 << 16).contains(&rank) {
        return Err(format!("r is {rank}, outside its range: 1 to {}", 1 << 16));
    }
    Ok(Scale { rank, alpha, by_root })
}

/// What a `LoraConfig` of PEFT says of an adapter.
pub(super) fn write(base: &str, scale: Scale, dropout: f64, targets: &[String], is_gpt2: bool) -> String {
    let json = json!({
        "base_model_name_or_path": base,
        "bias": "none",
        // The weights of GPT-2's layers are (n_in, n_out).
        "fan_in_fan_out": is_gpt2,
        "inference_mode": true,
        "lora_alpha": scale.alpha,
        "lora_dropout": dropout,
        "peft_type": "LORA",
        "r": scale.rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    });
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lal_has_not_is_refused_by_name() {
        let scale = |more: Value| {
            let mut json = json!({ "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8 });
            for (key, value) in more.as_object().unwrap() {
                json[key] = value.clone();
            }
            read(&json).map(Scale::factor)
        };
        assert_eq!(scale(json!({ "modules_to_save": null, "loftq_config": {} })), Ok(2.0));
        assert_eq!(scale(json!({ "use_rslora": true })), Ok(4.0));
        for (key, value) in [
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({ "q_proj": 2 })),
            ("alpha_pattern", json!({ "q_proj": 2 })),
            ("bias", json!("all")),
            ("peft_type", json!("LOHA")),
            ("task_type", json!("SEQ_CLS")),
            ("init_lora_weights", json!("pissa")),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["experts"])),
            ("layer_replication", json!([[0, 1]])),
            ("r", json!(0)),
            ("lora_alpha", json!("8")),
            ("something_new", json!(1)),
        ] {
            let error = scale(json!({ key: value })).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
