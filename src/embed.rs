//! Vectors of texts: what a Transformer makes of their tokens, pooled, as the folder of a model of Sentence
//! Transformers asks for (Reimers & Gurevych 2019).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::files::{SETTINGS_BYTES, read};
use crate::interop::keys::Keys;
use crate::models::abilities::Inability;
use crate::models::config::ModelConfig;
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::run::tensor_file::Entry;
use crate::sample::load::{LoadError, Stored};
use crate::text::tokenizer::{Tokenizer, TokenizerError};

const MODULES: &str = "modules.json";
const POOLING: &str = "config.json";
const SENTENCES: &str = "sentence_bert_config.json";

/// How the vectors of tokens become one of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// That of the first token, `[CLS]` of BERT.
    Cls,
    Last,
    Max,
    Mean,
    /// Their sum by the root of their number.
    MeanSqrtLength,
}

/// What a folder asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub pooling: Pooling,
    /// To a length of 1.
    pub normalize: bool,
    /// The most tokens of a text, those around it among them; longer ones are cut.
    pub max_tokens: Option<usize>,
    pub lower_case: bool,
}

impl Default for Recipe {
    /// As Sentence Transformers do with a folder that asks for nothing.
    fn default() -> Self {
        Self { pooling: Pooling::Mean, normalize: false, max_tokens: None, lower_case: false }
    }
}

/// Why a text has no vector.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
    #[error(transparent)]
    Inability(#[from] Inability),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("{path}: {what}")]
    Recipe { path: PathBuf, what: String },
    #[error("text {number} has no token: give at least one character")]
    Empty { number: usize },
}

impl Recipe {
    /// Reads `modules.json` of a folder, and the files that it names.
    ///
    /// # Errors
    /// When one asks for something that Lal does not have: the error names it.
    pub fn of(folder: &Path) -> Result<Self, EmbedError> {
        let mut recipe = Self::default();
        let sentences = folder.join(SENTENCES);
        if sentences.exists() {
            let json = json(&sentences)?;
            let mut read = || {
                let mut keys = Keys::of(&json)?;
                recipe.max_tokens = keys.find_size("max_seq_length")?.filter(|&most| most > 0);
                recipe.lower_case = keys.truth("do_lower_case", false)?;
                keys.finish()
            };
            named(&sentences, read())?;
        }
        let path = folder.join(MODULES);
        if !path.exists() {
            return Ok(recipe);
        }
        let modules = json(&path)?;
        let modules = modules.as_array().ok_or_else(|| wrong(&path, "it is no list".into()))?;
        for module in modules {
            let kind = module["type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => recipe.normalize = true,
                "Pooling" => {
                    let place = module["path"].as_str().unwrap_or_default();
                    let is_inside = Path::new(place)
                        .components()
                        .all(|part| matches!(part, std::path::Component::Normal(_)));
                    if !is_inside {
                        return Err(wrong(&path, format!("path is {place:?}, no folder in this one")));
                    }
                    let settings = folder.join(place).join(POOLING);
                    let json = json(&settings)?;
                    recipe.pooling = named(&settings, pooling(&json))?;
                }
                _ => {
                    let what = format!("type is {kind:?}, and Lal has Transformer, Pooling and Normalize");
                    return Err(wrong(&path, what));
                }
            }
        }
        Ok(recipe)
    }
}

/// The one way of pooling that the settings turn on.
fn pooling(json: &Value) -> Result<Pooling, String> {
    let mut keys = Keys::of(json)?;
    keys.find_size("word_embedding_dimension")?;
    keys.find_size("embedding_dimension")?;
    // A prompt before a text is what the caller puts there; Lal puts none, so that all tokens are the text's.
    keys.truth("include_prompt", true)?;
    let ways = [
        ("pooling_mode_cls_token", "cls", Pooling::Cls),
        ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
        ("pooling_mode_max_tokens", "max", Pooling::Max),
        ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLength),
    ];
    let mode = keys.word("pooling_mode", "")?;
    let mut chosen = Vec::new();
    for (key, name, way) in ways {
        if keys.truth(key, false)? || mode == name {
            chosen.push(way);
        }
    }
    keys.finish()?;
    match chosen[..] {
        [way] => Ok(way),
        [] if mode.is_empty() => Err("no pooling_mode is true".into()),
        [] => Err(format!(
            "pooling_mode is {mode:?}, and Lal has cls, lasttoken, max, mean and mean_sqrt_len_tokens"
        )),
        _ => Err("several ways of pooling are asked for side by side, and Lal has one at a time".into()),
    }
}

fn json(path: &Path) -> Result<Value, EmbedError> {
    let bytes = read(path, SETTINGS_BYTES).map_err(|error| wrong(path, error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(path, error.to_string()))
}

fn wrong(path: &Path, what: String) -> EmbedError {
    EmbedError::Recipe { path: path.to_owned(), what }
}

fn named<T>(path: &Path, result: Result<T, String>) -> Result<T, EmbedError> {
    result.map_err(|what| wrong(path, what))
}

/// A model on a device that makes vectors of texts.
pub struct Embedder {
    pub config: ModelConfig,
    pub recipe: Recipe,
    tokenizer: Tokenizer,
    /// By the number of tokens.
    plans: HashMap<usize, PlanId>,
}

/// The vector of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// (n_embd)
    pub vector: Vec<f32>,
    pub tokens: usize,
    /// Tokens of the text that were cut off.
    pub cut: usize,
}

impl Embedder {
    /// Loads the model of a folder: a Transformer.
    pub fn load(device: &mut dyn Device, folder: &Path) -> Result<Self, EmbedError> {
        let mut stored = Stored::open(folder)?;
        stored.config.attends()?;
        let recipe = Recipe::of(folder)?;
        device.check_memory((stored.config.n_parameters() as u64).saturating_mul(4))?;
        let plan = Arc::new(plan(&stored.config, 1)?);
        let id = device.load(&plan, 0)?;
        for (name, shape, _) in plan.parameters() {
            let entry = Entry { name: name.to_owned(), shape };
            device.write(name, &stored.read(&entry)?)?;
        }
        let Stored { config, tokenizer, .. } = stored;
        Ok(Self { config, recipe, tokenizer, plans: HashMap::from([(1, id)]) })
    }

    /// The vector of a text; `number` names it in errors.
    pub fn embed(
        &mut self,
        device: &mut dyn Device,
        text: &str,
        number: usize,
    ) -> Result<Embedded, EmbedError> {
        let lower = self.recipe.lower_case.then(|| text.to_lowercase());
        let mut ids = self.tokenizer.encode(lower.as_deref().unwrap_or(text))?;
        let none = [Vec::new(), Vec::new()];
        let [before, after] = self.tokenizer.published().map_or(&none, |published| published.around());
        let around = before.len() + after.len();
        let most =
            self.recipe.max_tokens.unwrap_or(usize::MAX).min(self.config.block_size).saturating_sub(around);
        let cut = ids.len().saturating_sub(most);
        ids.truncate(most);
        let ids = [&before[..], &ids, after].concat();
        if ids.is_empty() {
            return Err(EmbedError::Empty { number });
        }
        let id = match self.plans.get(&ids.len()) {
            Some(&id) => id,
            None => {
                let id = device.load(&Arc::new(plan(&self.config, ids.len())?), 0)?;
                self.plans.insert(ids.len(), id);
                id
            }
        };
        device.set_input(id, "tokens", HostData::U32(&ids))?;
        device.run(id, 0, &Step::default())?;
        let hidden = device.results(true)?.unwrap_or_default().pop().unwrap_or_default();
        let vector = self.recipe.pooled(&hidden, self.config.n_embd);
        Ok(Embedded { vector, tokens: ids.len(), cut })
    }
}

/// tokens (1, time) → [hidden (1, time, n_embd)].
fn plan(config: &ModelConfig, time: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("embed");
    let tokens = tape.input("tokens", Spec::u32([1, time]));
    let backbone = backbone(&mut tape, config, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
    Plan::new(&tape, &[backbone.hidden])
}

impl Recipe {
    /// hidden (time, n) → (n).
    fn pooled(&self, hidden: &[f32], n: usize) -> Vec<f32> {
        let time = hidden.len() / n;
        let rows = || hidden.chunks(n);
        let column = |of: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| -> Vec<f64> {
            (0..n).map(|at| of(&mut rows().map(|row| f64::from(row[at])))).collect()
        };
        let row = |at: usize| hidden[at * n..][..n].iter().map(|&x| f64::from(x)).collect();
        let mut vector: Vec<f64> = match self.pooling {
            Pooling::Cls => row(0),
            Pooling::Last => row(time - 1),
            Pooling::Max => column(&|values| values.fold(f64::NEG_INFINITY, f64::max)),
            Pooling::Mean => column(&|values| values.sum::<f64>() / time as f64),
            Pooling::MeanSqrtLength => column(&|values| values.sum::<f64>() / (time as f64).sqrt()),
        };
        if self.normalize {
            // As PyTorch's `normalize`, which divides by no less than this.
            let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector.into_iter().map(|x| x as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_of_pooling() {
        let hidden = [1.0, 2.0, 3.0, -4.0, 5.0, 2.0, 7.0, 0.0];
        let pooled = |pooling| Recipe { pooling, ..Recipe::default() }.pooled(&hidden, 2);
        assert_eq!(pooled(Pooling::Cls), [1.0, 2.0]);
        assert_eq!(pooled(Pooling::Last), [7.0, 0.0]);
        assert_eq!(pooled(Pooling::Max), [7.0, 2.0]);
        assert_eq!(pooled(Pooling::Mean), [4.0, 0.0]);
        assert_eq!(pooled(Pooling::MeanSqrtLength), [8.0, 0.0]);
        let unit =
            Recipe { normalize: true, pooling: Pooling::Cls, ..Recipe::default() }.pooled(&[3.0, 4.0], 2);
        assert_eq!(unit, [0.6, 0.8]);
    }

    #[test]
    fn a_folder_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(Recipe::of(folder.path()).unwrap(), Recipe::default());
        // As all-MiniLM-L6-v2 has them.
        put(
            "modules.json",
            r#"[
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#,
        );
        put(
            "1_Pooling/config.json",
            r#"{"word_embedding_dimension": 384, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false}"#,
        );
        put("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": false}"#);
        let wanted = Recipe { normalize: true, max_tokens: Some(256), ..Recipe::default() };
        assert_eq!(Recipe::of(folder.path()).unwrap(), wanted);
        let said = |name: &str, text: &str| {
            put(name, text);
            Recipe::of(folder.path()).unwrap_err().to_string()
        };
        assert!(
            said("1_Pooling/config.json", r#"{"pooling_mode_weightedmean_tokens": true}"#)
                .contains("weightedmean")
        );
        assert!(said("1_Pooling/config.json", r#"{"pooling_mode": "median"}"#).contains("median"));
        assert!(said("modules.json", r#"[{"type": "a.Dense", "path": "2_Dense"}]"#).contains("Dense"));
        assert!(said("modules.json", r#"[{"type": "a.Pooling", "path": "../x"}]"#).contains("no folder"));
    }
}
