//! A checked model file: it has every tensor of the model that `config.json` describes, and no other.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::config::described;
use super::gpt2::absent_bias;
use super::layout::{EMBEDDING, HEAD};
use super::{CONFIG, Layout, MODEL, ModelError, TokenizerMark};
use crate::interop::container::{Container, INDEX};
use crate::interop::dtype::Dtype;
use crate::interop::families::gguf::ROPE_FREQS;
use crate::models::config::{Architecture, ModelConfig};
use crate::run::tensor_file::{Entry, TensorFile};
use crate::text::tokenizer::Tokenizer;

/// The head of a reward model.
const SCORE: &str = "score.weight";

/// The model in a folder or a GGUF file, used with `tokenizer`: rows of its vocabulary that are no tokens of the
/// tokenizer are padding, [unused](ModelConfig::unused_tokens).
///
/// # Errors
/// As [`read_config`](super::read_config), and when the model is of another tokenizer or has fewer tokens.
pub fn read_config_for(place: &Path, tokenizer: &Tokenizer) -> Result<ModelConfig, ModelError> {
    let (config, mark, layout) = described(place)?;
    used(place, config, mark.as_ref(), layout, tokenizer)
}

fn used(
    place: &Path,
    config: ModelConfig,
    mark: Option<&TokenizerMark>,
    layout: Layout,
    tokenizer: &Tokenizer,
) -> Result<ModelConfig, ModelError> {
    if let Some(mark) = mark {
        mark.check(&TokenizerMark::of(tokenizer), &place.join(MODEL))?;
    }
    let tokens = tokenizer.vocab_size();
    let is_padded = config.vocab_size > tokens && layout != Layout::Plain;
    if config.vocab_size != tokens && !is_padded {
        let path = if place.is_file() { place.to_owned() } else { place.join(CONFIG) };
        return Err(ModelError::Vocabulary { path, config: config.vocab_size, tokenizer: tokens });
    }
    Ok(ModelConfig { unused_tokens: config.vocab_size - tokens, ..config })
}

/// What is before the names of a backbone's tensors, other than the layout says: `transformers` writes a model without
/// its head without the scope, and an encoder with a head with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    AsUsual,
    Without(&'static str),
    Within(&'static str),
}

impl Scope {
    fn of(layout: Layout, names: &[String]) -> Self {
        let Some(scope) = layout.scope() else { return Self::AsUsual };
        let has_scope = names.iter().any(|name| name.starts_with(scope));
        match layout.is_scoped() {
            true if !has_scope => Self::Without(scope),
            false if has_scope => Self::Within(scope),
            _ => Self::AsUsual,
        }
    }

    /// A tensor by the name that the file has for it.
    fn named(self, tensor: Entry) -> Entry {
        let name = match self {
            Self::Without(scope) => tensor.name.strip_prefix(scope).map(str::to_owned),
            Self::Within(scope) => Some(format!("{scope}{}", tensor.name)),
            Self::AsUsual => None,
        };
        Entry { name: name.unwrap_or(tensor.name), ..tensor }
    }
}

/// An open file of weights.
#[derive(Debug)]
pub struct StoredModel {
    file: TensorFile,
    layout: Layout,
    scope: Scope,
    /// With the padding of tables that have a row per token.
    config: ModelConfig,
}

impl StoredModel {
    /// Opens the model of a folder or a GGUF file, to be used with `tokenizer`.
    ///
    /// # Errors
    /// As [`read_config_for`], and when a tensor is missing, of another shape or type, or one that the model does not
    /// use.
    pub fn open(place: &Path, tokenizer: &Tokenizer) -> Result<(ModelConfig, Self), ModelError> {
        let (config, mark, layout) = described(place)?;
        let used = used(place, config.clone(), mark.as_ref(), layout, tokenizer)?;
        if ![MODEL, INDEX].iter().any(|name| place.join(name).exists()) {
            other_files(place)?;
        }
        let file = TensorFile::open_model(place)?;
        let scope = Scope::of(layout, &file.names());
        let mut stored = Self { file, layout, scope, config };
        stored.check()?;
        Ok((used, stored))
    }

    /// How it holds tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether it holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.names().iter().any(|known| known == name)
    }

    /// The model as its file describes it.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn container(&self) -> &Container {
        self.file.container()
    }

    /// The format of its largest tensor.
    pub fn dtype(&self) -> Option<Dtype> {
        self.container().tensors().iter().max_by_key(|tensor| tensor.elements())?.dtype
    }

    /// The elements of a tensor as the file has it.
    pub fn copied(&self, tensor: &Entry) -> Result<Vec<f32>, ModelError> {
        Ok(self.file.read(tensor)?)
    }

    /// The elements of a parameter as the tape has it.
    pub fn read(&self, parameter: &Entry) -> Result<Vec<f32>, ModelError> {
        let parts =
            self.entries(parameter).iter().map(|entry| self.file.read(entry)).collect::<Result<_, _>>()?;
        Ok(self.layout.join(parameter, parts))
    }

    /// Whether the file has the tensors of the model, and no other that says anything.
    fn check(&mut self) -> Result<(), ModelError> {
        let config = &self.config.clone();
        let path = self.file.path().to_owned();
        let names = self.file.names();
        // Before a model of so many layers is recorded: each has tensors.
        let has_layers = config.architecture == Architecture::Transformer || config.is_recurrent();
        if has_layers && config.n_layer > names.len() {
            let (expected, found) = (config.n_parameters() as u64, self.file.elements());
            return Err(ModelError::TooFew { path, expected, found });
        }
        let parameters =
            config.parameters().map_err(|source| ModelError::Plan { path: path.clone(), source })?;
        let parameters: Vec<_> = parameters.into_iter().map(|(name, shape)| Entry { name, shape }).collect();
        let mut used = HashSet::from([SCORE.to_owned()]);
        if let Layout::Gguf(..) = self.layout {
            // It was read as a part of the configuration.
            used.insert(ROPE_FREQS.to_owned());
        }
        for parameter in &parameters {
            for stored in self.entries(parameter) {
                self.file.check(&stored)?;
                used.insert(stored.name);
            }
        }
        let head = self.entries(&Entry { name: HEAD.into(), shape: [1].into() }).swap_remove(0).name;
        let biases = parameters.iter().filter(|_| self.layout == Layout::Gpt2);
        let biases =
            biases.filter_map(|weight| absent_bias(weight, &parameters)).map(|bias| self.scope.named(bias));
        let biases: HashMap<_, _> = biases.map(|bias| (bias.name.clone(), bias)).collect();
        for name in names.into_iter().filter(|name| !used.contains(name)) {
            if self.layout == Layout::Plain {
                return Err(ModelError::Unused { path, name });
            }
            if let Some(bias) = biases.get(&name) {
                if self.file.read(bias)?.iter().any(|&x| x != 0.0) {
                    return Err(ModelError::Biased { path, name });
                }
            } else if name == head {
                self.check_head(config)?;
            } else if !is_known(&name, config) {
                return Err(ModelError::Unused { path, name });
            }
        }
        Ok(())
    }

    /// The stored tensors that hold a parameter.
    fn entries(&self, parameter: &Entry) -> Vec<Entry> {
        self.layout.entries(parameter).1.into_iter().map(|entry| self.scope.named(entry)).collect()
    }

    /// A stored head of a model with a tied head must equal the embedding.
    fn check_head(&mut self, config: &ModelConfig) -> Result<(), ModelError> {
        let table =
            |name: &str| Entry { name: name.into(), shape: [config.vocab_size, config.n_embd].into() };
        let [head, embedding] = [HEAD, EMBEDDING].map(table);
        if self.read(&head)? == self.read(&embedding)? {
            return Ok(());
        }
        Err(ModelError::Untied { path: self.file.path().to_owned() })
    }
}

/// Whether a tensor says nothing of what the model computes.
fn is_known(name: &str, config: &ModelConfig) -> bool {
    is_derived(name, config.n_layer) || config.details.encoder && is_besides(name)
}

/// What `transformers` kept with the weights and can be computed without them: masks of causality (`h.3.attn.bias`,
/// `layers.3.attention.masked_bias`) and the frequencies of rotary embeddings
/// (`layers.3.self_attn.rotary_emb.inv_freq`).
fn is_derived(name: &str, n_layer: usize) -> bool {
    let parts: Vec<_> = name.split('.').collect();
    let of_layer = parts.windows(2).any(|pair| {
        ["h", "layers"].contains(&pair[0]) && pair[1].parse().is_ok_and(|layer: usize| layer < n_layer)
    });
    of_layer
        && matches!(
            parts[..],
            [.., "attn" | "attention", "bias" | "masked_bias"]
                | [.., "self_attn" | "attention", "rotary_emb", "inv_freq"]
        )
}

/// What there is besides an encoder: heads of its pretraining, and the numbers of positions.
fn is_besides(name: &str) -> bool {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    ["pooler.", "cls."].iter().any(|head| name.starts_with(head)) || name == "embeddings.position_ids"
}

/// Names what others keep weights in that Lal does not read.
fn other_files(folder: &Path) -> Result<(), ModelError> {
    let others = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| folder.join(name));
    match others.into_iter().find(|path| path.exists()) {
        Some(path) => Err(ModelError::OtherFile { path }),
        None => Ok(()),
    }
}
