//! A checked model file: it has every tensor of the model that `config.json` describes, and no other.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::{
    CONFIG, Layout, MODEL, ModelError, TokenizerMark, absent_bias, family_entries, in_file, read as read_in,
    read_config,
};
use crate::interop::container::INDEX;
use crate::models::config::{Architecture, ModelConfig};
use crate::run::tensor_file::{Entry, TensorFile};
use crate::text::tokenizer::Tokenizer;

/// The scope of a Transformer's backbone, which the files of GPT-2's backbone alone leave out.
const TRUNK: &str = "transformer.";
/// The head of a reward model.
const SCORE: &str = "score.weight";
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "transformer.wte.weight";

/// The model in a folder as those see it who use it with `tokenizer`: tokens of the vocabulary that the tokenizer lacks
/// are padding and left out.
///
/// # Errors
/// As [`read_config`], and when the model is of another tokenizer or has fewer tokens.
pub fn read_config_for(folder: &Path, tokenizer: &Tokenizer) -> Result<ModelConfig, ModelError> {
    let (config, mark) = read_config(folder)?;
    if let Some(mark) = mark {
        mark.check(&TokenizerMark::of(tokenizer), &folder.join(MODEL))?;
    }
    let tokens = tokenizer.vocab_size();
    let is_padded = config.vocab_size > tokens && Layout::stored(folder)? != Layout::Plain;
    if config.vocab_size != tokens && !is_padded {
        return Err(ModelError::Vocabulary {
            path: folder.join(CONFIG),
            config: config.vocab_size,
            tokenizer: tokens,
        });
    }
    Ok(ModelConfig { vocab_size: tokens, ..config })
}

/// An open file of weights.
#[derive(Debug)]
pub struct StoredModel {
    file: TensorFile,
    layout: Layout,
    /// Whether it leaves [`TRUNK`] out.
    is_bare: bool,
    /// Rows of the tables with a row per token, padding among them.
    rows: usize,
}

impl StoredModel {
    /// Opens the model of a folder, to be used with `tokenizer`.
    ///
    /// # Errors
    /// As [`read_config_for`], and when a tensor is missing, of another shape or type, or one that the model does not
    /// use.
    pub fn open(folder: &Path, tokenizer: &Tokenizer) -> Result<(ModelConfig, Self), ModelError> {
        let used = read_config_for(folder, tokenizer)?;
        let (config, _) = read_config(folder)?;
        let layout = Layout::stored(folder)?;
        if ![MODEL, INDEX].iter().any(|name| folder.join(name).exists()) {
            other_files(folder)?;
        }
        let file = TensorFile::open_model(folder)?;
        let is_bare = layout == Layout::Gpt2 && !file.names().iter().any(|name| name.starts_with(TRUNK));
        let mut stored = Self { file, layout, is_bare, rows: config.vocab_size };
        stored.check(&config)?;
        Ok((used, stored))
    }

    /// Whether it holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.names().iter().any(|known| known == name)
    }

    /// The elements of a parameter as the tape has it.
    pub fn read(&mut self, parameter: &Entry) -> Result<Vec<f32>, ModelError> {
        let mut whole = parameter.clone();
        if self.layout != Layout::Plain && [EMBEDDING, HEAD].contains(&parameter.name.as_str()) {
            whole.shape = [self.rows, parameter.shape.width()].into();
        }
        let whole = self.named(whole);
        let mut elements = read_in(&self.file, self.layout, &whole)?;
        elements.truncate(parameter.shape.len());
        Ok(elements)
    }

    /// An entry by the name that the file has for it.
    fn named(&self, entry: Entry) -> Entry {
        match entry.name.strip_prefix(TRUNK) {
            Some(name) if self.is_bare => Entry { name: name.to_owned(), ..entry },
            _ => entry,
        }
    }

    /// Whether the file has the tensors of the model, and no other that says anything.
    fn check(&mut self, config: &ModelConfig) -> Result<(), ModelError> {
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
        let parameters: Vec<_> =
            parameters.into_iter().map(|(name, shape)| self.named(Entry { name, shape })).collect();
        let mut used = HashSet::from([SCORE.to_owned()]);
        for parameter in &parameters {
            for stored in self.entries(parameter) {
                self.file.check(&stored)?;
                used.insert(stored.name);
            }
        }
        let head = self.entries(&Entry { name: HEAD.into(), shape: [1].into() }).swap_remove(0).name;
        let biases = parameters.iter().filter(|_| self.layout == Layout::Gpt2);
        let biases = biases.filter_map(|weight| absent_bias(weight, &parameters));
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
            } else if !is_derived(&name, config.n_layer) {
                return Err(ModelError::Unused { path, name });
            }
        }
        Ok(())
    }

    /// The stored tensors that hold a parameter.
    fn entries(&self, parameter: &Entry) -> Vec<Entry> {
        match self.layout {
            Layout::Plain => vec![parameter.clone()],
            Layout::Gpt2 => vec![in_file(parameter)],
            Layout::Family(family, heads) => family_entries(family, heads, parameter).1,
        }
    }

    /// A stored head of a model with a tied head must equal the embedding.
    fn check_head(&mut self, config: &ModelConfig) -> Result<(), ModelError> {
        let table =
            |name: &str| Entry { name: name.into(), shape: [config.vocab_size, config.n_embd].into() };
        let [head, embedding] = [HEAD, EMBEDDING].map(|name| self.named(table(name)));
        let read = |entry: &Entry| read_in(&self.file, self.layout, entry);
        if read(&head)? == read(&embedding)? {
            return Ok(());
        }
        Err(ModelError::Untied { path: self.file.path().to_owned() })
    }
}

/// What `transformers` kept with the weights and can be computed without them: masks of causality (`h.3.attn.bias`,
/// `layers.3.attention.masked_bias`) and the frequencies of rotary embeddings (`layers.3.self_attn.rotary_emb.inv_freq`).
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

/// Names what others keep weights in that Lal does not read.
fn other_files(folder: &Path) -> Result<(), ModelError> {
    let others = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| folder.join(name));
    match others.into_iter().find(|path| path.exists()) {
        Some(path) => Err(ModelError::OtherFile { path }),
        None => Ok(()),
    }
}
