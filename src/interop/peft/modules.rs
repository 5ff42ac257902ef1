//! The linear layers of a block, by the names that a model's class in `transformers` has for them.

use crate::interop::families::{Family, How};
use crate::models::config::ModelConfig;
use crate::nn::lora::{Site, Sites};

/// All linear layers but the head.
pub const ALL_LINEAR: &str = "all-linear";

/// Whose names: a family's, or `None` for GPT-2's, which are the tape's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modules(pub Option<&'static Family>);

/// A linear layer of each block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub site: Site,
    /// `model.layers.{}.self_attn.q_proj`: `{}` stands for the number of the block.
    path: String,
    /// Whether its rows are queries, keys and values of each head one after the other.
    pub by_head: bool,
}

impl Module {
    /// Its name in a block.
    pub fn of(&self, layer: usize) -> String {
        self.path.replace("{}", &layer.to_string())
    }

    /// The name that targets have for it, `q_proj`.
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The same with what it is a part of, `self_attn.q_proj`.
    fn long_name(&self) -> &str {
        self.path.split("{}.").last().unwrap_or(&self.path)
    }

    /// Whether a target means it, as in PEFT: by the end of its name.
    fn is_meant_by(&self, target: &str) -> bool {
        self.path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

/// A target that no layer of the model has for a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--lora-targets has {target:?}, and the model has no such layer: choose from {known}, or {ALL_LINEAR}"
)]
pub struct UnknownTarget {
    target: String,
    known: String,
}

impl Modules {
    /// The name that [`named`](Self::named) knows.
    pub fn name(self) -> &'static str {
        self.0.map_or("gpt2", |family| family.name)
    }

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "gpt2" => Some(Self(None)),
            name => Family::named(name).map(|family| Self(Some(family))),
        }
    }

    /// The layers that a model has.
    pub fn all(self, config: &ModelConfig) -> Vec<Module> {
        let matrices = [Site::Qkv, Site::Mixed, Site::Gate, Site::Up, Site::Down];
        let has = |site: &Site| config.site(*site).is_some();
        matrices.into_iter().filter(has).flat_map(|site| self.of_matrix(site)).collect()
    }

    /// The layers that make up a matrix of the tape.
    fn of_matrix(self, site: Site) -> Vec<Module> {
        let ours = format!("transformer.h.0.{}.weight", site.scope());
        let row = self.0.and_then(|family| family.row(&ours)).map(|(row, _)| row);
        let module = |site: Site, path: &str, how: How| Module {
            site,
            path: path.strip_suffix(".weight").unwrap_or(path).to_owned(),
            by_head: how == How::ByHead,
        };
        match row {
            None => vec![module(site, &format!("transformer.h.{{}}.{}", site.scope()), How::Same)],
            Some(row) => match row.how {
                How::Joined => {
                    let parts = [Site::Query, Site::Key, Site::Value].into_iter().zip(row.theirs);
                    parts.map(|(site, path)| module(site, path, row.how)).collect()
                }
                How::Half(0) => vec![module(Site::GateUp, row.theirs[0], row.how)],
                // Its first half has it.
                How::Half(_) => Vec::new(),
                how => vec![module(site, row.theirs[0], how)],
            },
        }
    }

    /// The sites of layers that `targets` mean, each a name as in PEFT's `target_modules`.
    pub fn sites(self, config: &ModelConfig, targets: &[String]) -> Result<Sites, UnknownTarget> {
        let all = self.all(config);
        if targets.iter().any(|target| target == ALL_LINEAR) {
            return Ok(all.iter().map(|module| module.site).collect());
        }
        if let Some(target) = targets.iter().find(|target| !all.iter().any(|one| one.is_meant_by(target))) {
            let mut known: Vec<_> = all.iter().map(Module::name).collect();
            known.sort_unstable();
            known.dedup();
            return Err(UnknownTarget { target: target.clone(), known: known.join(", ") });
        }
        let is_meant = |module: &&Module| targets.iter().any(|target| module.is_meant_by(target));
        Ok(all.iter().filter(is_meant).map(|module| module.site).collect())
    }

    /// The fewest targets that mean these sites and no other.
    pub fn targets(self, config: &ModelConfig, sites: Sites) -> Vec<String> {
        let all = self.all(config);
        let mut targets = Vec::new();
        for module in all.iter().filter(|module| sites.has(module.site)) {
            let alike = all.iter().filter(|other| other.name() == module.name());
            let is_plain = alike.into_iter().all(|other| sites.has(other.site));
            let target = if is_plain { module.name() } else { module.long_name() };
            if !targets.iter().any(|known| known == target) {
                targets.push(target.to_owned());
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::mlp::FeedForward;

    fn names(modules: Modules, config: &ModelConfig, targets: &[&str]) -> Vec<String> {
        let targets: Vec<_> = targets.iter().map(|&target| target.to_owned()).collect();
        let sites = modules.sites(config, &targets).unwrap();
        modules.targets(config, sites)
    }

    #[test]
    fn layers_have_the_names_of_their_class() {
        let gpt2 = ModelConfig::gpt(9, 4, 1, 1, 4);
        let gated = ModelConfig { feed_forward: FeedForward::Swiglu, ..gpt2.clone() };
        for (name, config, all) in [
            ("gpt2", &gpt2, "c_attn c_proj c_fc"),
            ("llama", &gated, "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj"),
            ("phi3", &gated, "qkv_proj o_proj gate_up_proj down_proj"),
            ("gpt_neox", &gpt2, "query_key_value dense dense_h_to_4h dense_4h_to_h"),
        ] {
            let modules = Modules::named(name).unwrap();
            assert_eq!(modules.name(), name);
            assert_eq!(names(modules, config, &[ALL_LINEAR]).join(" "), all);
        }
        let modules = Modules(None);
        assert_eq!(names(modules, &gpt2, &["c_proj"]), ["c_proj"]);
        assert_eq!(names(modules, &gpt2, &["mlp.c_proj"]), ["mlp.c_proj"]);
        assert_eq!(modules.all(&gpt2)[1].of(3), "transformer.h.3.attn.c_proj");
        let neox = Modules::named("gpt_neox").unwrap();
        assert_eq!(names(neox, &gpt2, &["dense"]), ["dense"]);
    }

    #[test]
    fn a_name_of_no_layer_is_refused_with_those_there_are() {
        let gpt2 = ModelConfig::gpt(9, 4, 1, 1, 4);
        for target in ["q_proj", "proj", "", "wte"] {
            let error = Modules(None).sites(&gpt2, &[target.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("c_attn, c_fc, c_proj") && error.contains(target), "{error}");
        }
    }
}
