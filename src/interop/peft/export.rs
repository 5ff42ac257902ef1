//! The adapters of a run, as PEFT reads them.

use super::config::{self, Scale};
use super::factor;
use super::modules::Modules;
use crate::engine::tensor::Shape;
use crate::interop::families::{Heads, How};
use crate::models::config::ModelConfig;

/// A factor: its name on the tape and in the file, and its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    pub ours: String,
    pub theirs: String,
    pub shape: Shape,
    how: How,
    heads: Heads,
}

impl Factor {
    /// The elements in the file, from those on the tape.
    pub fn stored(&self, elements: Vec<f32>) -> Vec<f32> {
        self.how.split(self.heads, elements, 0)
    }
}

/// The factors of a model's adapters.
pub fn factors(config: &ModelConfig, modules: Modules) -> Vec<Factor> {
    let (modules, heads) = (modules.all(config), Heads::of(config));
    let modules: Vec<_> = modules.iter().filter(|module| config.lora.has(module.site)).collect();
    let mut factors = Vec::new();
    for layer in 0..config.n_layer {
        for module in &modules {
            let Some([n_in, n_out]) = config.site(module.site) else { continue };
            let (scope, name) = (format!("transformer.h.{layer}.{}", module.site.scope()), module.of(layer));
            let new = |ours: &str, theirs: &str, shape: [usize; 2], how: How| Factor {
                ours: format!("{scope}.{ours}"),
                theirs: factor(&name, theirs),
                shape: shape.into(),
                how,
                heads,
            };
            let of_b = if module.by_head { How::ByHead } else { How::Same };
            factors.push(new("lora_a", "A", [config.lora.rank, n_in], How::Same));
            factors.push(new("lora_b", "B", [n_out, config.lora.rank], of_b));
        }
    }
    factors
}

/// The text of `adapter_config.json`, for adapters of the model at `base`.
pub fn config_json(config: &ModelConfig, modules: Modules, alpha: f64, base: &str) -> String {
    let lora = config.lora;
    let targets = modules.targets(config, lora.sites);
    let scale = Scale { rank: lora.rank, alpha, by_root: false };
    config::write(base, scale, lora.dropout.into(), &targets, modules == Modules(None))
}
