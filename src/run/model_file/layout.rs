//! How a file holds the tensors of a model: what each of them is made of.

use super::gpt2::{absent_bias, in_file, is_matrix, transposed};
use crate::interop::families::gguf::Gguf;
use crate::interop::families::{FAMILIES, Family, Heads, How, Tensor, row};
use crate::interop::peft::modules::Modules;
use crate::models::config::ModelConfig;
use crate::run::tensor_file::{Entry, Give};

pub(super) const HEAD: &str = "lm_head.weight";
pub(super) const EMBEDDING: &str = "transformer.wte.weight";

/// How the file holds tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As `transformers` wants them of GPT-2.
    Gpt2,
    /// As it wants them of another family.
    Family(&'static Family, Heads),
    /// As llama.cpp wants them.
    Gguf(&'static Gguf, Heads),
    /// As on the tape.
    Plain,
}

impl Layout {
    /// The layout in which a model of this kind is written; [`stored`](Self::stored) is that of a folder.
    pub fn of(config: &ModelConfig) -> Self {
        if config.is_gpt2() {
            return Self::Gpt2;
        }
        match Family::of(config) {
            Some(family) => Self::Family(family, Heads::of(config)),
            None => Self::Plain,
        }
    }

    /// What the linear layers of such a model are called.
    pub fn modules(self) -> Modules {
        match self {
            Self::Family(family, _) => Modules(Some(family)),
            Self::Gguf(gguf, _) => {
                Modules(FAMILIES.into_iter().find(|family| family.gguf.as_ref() == Some(gguf)))
            }
            Self::Gpt2 | Self::Plain => Modules(None),
        }
    }

    /// What is before the names of a backbone's tensors, where a head has none of it.
    pub(super) fn scope(self) -> Option<&'static str> {
        match self {
            Self::Gpt2 => Some("transformer."),
            Self::Family(family, _) => Some(family.scope),
            Self::Gguf(..) | Self::Plain => None,
        }
    }

    /// Whether the layout's own names have it.
    pub(super) fn is_scoped(self) -> bool {
        let scope = self.scope().unwrap_or_default();
        let mut rows = self.tables().iter().flat_map(|table| table.iter());
        self == Self::Gpt2 || rows.any(|row| row.theirs[0].starts_with(scope))
    }

    fn tables(self) -> &'static [&'static [Tensor]] {
        match self {
            Self::Family(family, _) => family.tensors(),
            Self::Gguf(gguf, _) => gguf.tensors,
            Self::Gpt2 | Self::Plain => &[],
        }
    }

    fn heads(self) -> Heads {
        match self {
            Self::Family(_, heads) | Self::Gguf(_, heads) => heads,
            Self::Gpt2 | Self::Plain => Heads { n_head: 1, n_kv_head: 1, head_size: 1, token_types: 0 },
        }
    }

    /// How a parameter is stored, and in which tensors. What is none of the model's is stored as it is.
    pub(super) fn entries(self, parameter: &Entry) -> (How, Vec<Entry>) {
        if self == Self::Gpt2 {
            return (How::Same, vec![in_file(parameter)]);
        }
        match row(self.tables(), &parameter.name) {
            Some((row, layer)) => {
                let stored = row.stored(self.heads(), parameter.shape, layer).into_iter();
                (row.how, stored.map(|(name, shape)| Entry { name, shape }).collect())
            }
            None => (How::Same, vec![parameter.clone()]),
        }
    }

    /// The elements of a parameter as the tape has it, from those of its [`entries`](Self::entries).
    pub(super) fn join(self, parameter: &Entry, stored: Vec<Vec<f32>>) -> Vec<f32> {
        let (how, entries) = self.entries(parameter);
        let elements = how.join(self.heads(), stored);
        let is_transposed = self == Self::Gpt2 && is_matrix(parameter);
        if is_transposed { transposed(&elements, entries[0].shape) } else { elements }
    }

    /// The tensors of a file with these parameters, in its order.
    pub fn tensors(self, parameters: &[Entry]) -> Vec<FileTensor<'_>> {
        let mut tensors: Vec<FileTensor> = Vec::new();
        for parameter in parameters {
            let (how, entries) = self.entries(parameter);
            for (part, entry) in entries.into_iter().enumerate() {
                let source = Source { parameter, how, part };
                // Two halves make one tensor.
                match tensors.iter_mut().find(|known| known.entry.name == entry.name) {
                    Some(known) => known.sources.push(source),
                    None => tensors.push(FileTensor { layout: self, entry, sources: vec![source] }),
                }
            }
            if self.wants_biases() {
                let bias = absent_bias(parameter, parameters);
                let stored = bias.and_then(|bias| self.entries(&bias).1.pop());
                tensors.extend(stored.map(|entry| FileTensor { layout: self, entry, sources: Vec::new() }));
            }
        }
        tensors.extend(self.own_head(parameters));
        for tensor in &mut tensors {
            tensor.sources.sort_by_key(|source| if let How::Half(half) = source.how { half } else { 0 });
        }
        tensors
    }

    /// The head that llama.cpp wants of some architectures even where it is the token embedding.
    fn own_head(self, parameters: &[Entry]) -> Option<FileTensor<'_>> {
        let named = |name: &str| parameters.iter().find(|parameter| parameter.name == name);
        let wants = matches!(self, Self::Gguf(gguf, _) if gguf.head) && named(HEAD).is_none();
        let parameter = named(EMBEDDING).filter(|_| wants)?;
        let head = Entry { name: HEAD.into(), shape: parameter.shape };
        let entry = self.entries(&head).1.pop()?;
        let sources = vec![Source { parameter, how: How::Same, part: 0 }];
        Some(FileTensor { layout: self, entry, sources })
    }

    /// Whether a model without biases gets zeros for them, which change nothing.
    pub(super) fn wants_biases(self) -> bool {
        self == Self::Gpt2 || matches!(self, Self::Gguf(gguf, _) if gguf.architecture == "gpt2")
    }
}

/// A tensor of a file, and the parameters that it is made of, in order: none of zeros.
#[derive(Debug)]
pub struct FileTensor<'a> {
    pub entry: Entry,
    layout: Layout,
    sources: Vec<Source<'a>>,
}

/// Entry `part` of those that a parameter is stored in.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    parameter: &'a Entry,
    how: How,
    part: usize,
}

impl FileTensor<'_> {
    /// Gives its elements, from those of parameters.
    pub fn give<E>(&self, mut read: impl FnMut(&Entry, Give) -> Result<(), E>, give: Give) -> Result<(), E> {
        if self.sources.is_empty() {
            give(&vec![0.0; self.entry.shape.len()]);
        }
        for &Source { parameter, how, part } in &self.sources {
            let is_transposed = self.layout == Layout::Gpt2 && is_matrix(parameter);
            if how == How::Same && !is_transposed {
                read(parameter, give)?;
                continue;
            }
            let mut elements = Vec::with_capacity(parameter.shape.len());
            read(parameter, &mut |part| elements.extend_from_slice(part))?;
            if is_transposed {
                give(&transposed(&elements, parameter.shape));
            } else {
                give(&how.split(self.layout.heads(), elements, part));
            }
        }
        Ok(())
    }
}
