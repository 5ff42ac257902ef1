//! Adapters as PEFT has them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A layer's factors are `base_model.model.NAME.lora_A.weight` (r, n_in) and `….lora_B.weight` (n_out, r), where NAME
//! is what [`modules`] call the layer. [`adapter`] reads a folder of them, [`export`] writes one.

pub mod adapter;
mod config;
pub mod export;
pub mod modules;

/// What describes an adapter.
pub const CONFIG: &str = "adapter_config.json";
/// Its factors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// The name of factor `"A"` or `"B"` of a module.
fn factor(module: &str, factor: &str) -> String {
    format!("base_model.model.{module}.lora_{factor}.weight")
}
