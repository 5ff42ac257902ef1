//! The configuration of a model.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::details::Details;
use crate::engine::single::is_share;
use crate::nn::lora::Lora;
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;

/// The family of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Attention and feed-forward blocks (Vaswani et al. 2017): GPT, Llama and BERT by their settings.
    Transformer,
    /// h' = tanh(W x + U h) (Elman 1990).
    Rnn,
    /// Gated recurrent unit (Cho et al. 2014).
    Gru,
    /// Long short-term memory (Hochreiter & Schmidhuber 1997).
    Lstm,
    /// A fixed window of embeddings through one hidden layer (Bengio et al. 2003).
    Mlp,
    /// A table: the next token's logits by the last token alone.
    Bigram,
    /// Word vectors, from which words are near which (Mikolov et al. 2013).
    Skipgram,
}

impl fmt::Display for Architecture {
    /// As settings name it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.serialize(f)
    }
}

/// The positional encoding of a Transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// None but what causality lets a token see.
    None,
    /// A fixed table of sines and cosines (Vaswani et al. 2017).
    Sinusoidal,
    /// A trained table, as in GPT-2.
    Learned,
    /// Rotary embeddings of queries and keys (Su et al. 2021).
    Rope,
    /// A penalty on scores that grows with distance (Press et al. 2022).
    Alibi,
}

/// Where the norm is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlace {
    /// Before each half of a block, as in GPT-2.
    Pre,
    /// After each addition, as in the first Transformer and BERT.
    Post,
    /// After each half, before it is added, as in OLMo 2.
    Branch,
    /// Before each half, and after it, before it is added, as in Gemma 3.
    Sandwich,
}

impl NormPlace {
    /// Whether each half reads a norm of the stream.
    pub fn is_before(self) -> bool {
        matches!(self, Self::Pre | Self::Sandwich)
    }

    /// Whether what each half adds is normalised.
    pub fn is_of_branch(self) -> bool {
        matches!(self, Self::Branch | Self::Sandwich)
    }
}

/// A model: which, and how large. Each architecture reads the fields that it has a use for. What is serialized are the
/// settings of a run that make it, in the order of its `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub architecture: Architecture,
    /// Token ids are below this. It comes with the text.
    #[serde(default, skip_serializing)]
    pub vocab_size: usize,
    /// The last so many ids are no tokens of its tokenizer: published tables are padded. They count in the loss, as in
    /// `transformers`, and are never sampled.
    #[serde(default, skip_serializing)]
    pub unused_tokens: usize,
    pub n_layer: usize,
    pub n_head: usize,
    /// Heads of keys and values, each shared by `n_head / n_kv_head` heads of queries (Ainslie et al. 2023).
    pub n_kv_head: usize,
    /// Channels of one head; 0 for `n_embd / n_head`.
    #[serde(default)]
    pub head_size: usize,
    /// Channels of a token's vector: the width of the model.
    pub n_embd: usize,
    /// Channels inside the feed-forward half.
    pub n_inner: usize,
    /// The most tokens a Transformer or an MLP sees at once; the steps a recurrent net is trained through; the most
    /// tokens between a token and what skip-gram calls its neighbour.
    pub block_size: usize,
    /// Whether linear layers and layer norms add a bias.
    pub bias: bool,
    /// The share of activations zeroed in training, 0 ≤ `dropout` < 1.
    pub dropout: f64,
    pub position: Position,
    /// Tokens that a convolution over queries, keys and values reaches, the token itself among them; 0 for no
    /// convolution.
    #[serde(default)]
    pub conv_kernel: usize,
    pub norm: Norm,
    /// What norms add to a variance or a mean of squares. No setting of a run, but GPT-2's files may have another.
    #[serde(default = "norm_eps", skip_serializing)]
    pub norm_eps: f64,
    pub norm_place: NormPlace,
    pub feed_forward: FeedForward,
    /// Whether the head's weight is the token embedding.
    pub tied: bool,
    /// What no setting of a run names, but files of published models may have.
    #[serde(default, skip_serializing)]
    pub details: Details,
    /// Whether a token sees only those before it. One that sees all is trained to fill in masked tokens.
    pub causal: bool,
    /// The low-rank adapters of a Transformer. They are merged before a model is written.
    #[serde(skip)]
    pub lora: Lora,
}

/// What the sizes of a model may be. The greatest are far above those in use (1,000 layers are the deepest Transformer
/// known, Wang et al. 2022), and so small that a model of few other numbers is written down in seconds.
pub const SIZES: [(&str, RangeInclusive<usize>); 10] = [
    ("vocab_size", 1..=1 << 24),
    ("block_size", 1..=1 << 20),
    ("n_layer", 1..=1000),
    ("n_head", 1..=1 << 16),
    ("n_kv_head", 1..=1 << 16),
    ("head_size", 0..=1 << 16),
    ("n_embd", 1..=1 << 20),
    ("n_inner", 1..=1 << 22),
    ("conv_kernel", 0..=1 << 16),
    ("lora_rank", 0..=1 << 16),
];

/// The most steps of all recurrent layers together: each is written down by itself, which takes seconds for so many.
const MOST_STEPS: usize = 1 << 14;

/// Sizes of no valid model, and what to change.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SizeError {
    #[error("{name} = {value} is outside its range: {} to {}", range.start(), range.end())]
    Range { name: &'static str, value: usize, range: RangeInclusive<usize> },
    #[error(
        "n_embd = {n_embd} is not divisible by n_head = {n_head}: every head has as many channels; choose \
         --n-embd {} or {}, another --n-head, or --head-size", n_embd / n_head * n_head, (n_embd / n_head + 1) * n_head
    )]
    Heads { n_embd: usize, n_head: usize },
    #[error(
        "n_head = {n_head} is not divisible by n_kv_head = {n_kv_head}: every head of keys serves as many of \
         queries; choose --n-kv-head 1, {n_head}, or another divisor"
    )]
    KeyHeads { n_head: usize, n_kv_head: usize },
    #[error(
        "heads of {0} channels cannot be turned in pairs: choose an even --n-embd / --n-head, or another \
         --position"
    )]
    OddHead(usize),
    #[error(
        "a recurrent net is written down step by step, and block_size = {block_size} steps of n_layer = {n_layer} layers \
         are more than {MOST_STEPS}: choose a smaller --block-size or --n-layer"
    )]
    Steps { block_size: usize, n_layer: usize },
    #[error("conv_kernel = 1 reaches no other token: choose 2 or more, or 0 for no convolution")]
    OneTap,
    #[error(
        "causal = false is for Transformers, and the architecture {0} cannot see what comes after a token: leave it \
         out, or choose --architecture transformer"
    )]
    OneSided(Architecture),
    #[error(
        "dropout = {0} is outside 0 to 0.99999994, the 32-bit number before 1: 0 turns it off, 0.1 zeroes a tenth"
    )]
    Dropout(f64),
    #[error(
        "{0} channels of a head cannot be turned in pairs: they must be even, and at most the head's {1}"
    )]
    RopeWidth(usize, usize),
    #[error("layers with a window must be causal")]
    Window,
    #[error("{name} = {value} is no number that a model can have")]
    Detail { name: &'static str, value: f64 },
    #[error("halves of a block that read the same stream have norms before them: norm_place must be pre")]
    Parallel,
    #[error("the epsilon of norms is {0}, outside its range: 1e-12 to 1")]
    NormEps(f64),
}

impl ModelConfig {
    /// GPT-2 as nanoGPT has it, of these sizes: where other models start from.
    pub fn gpt(vocab_size: usize, block_size: usize, n_layer: usize, n_head: usize, n_embd: usize) -> Self {
        Self {
            architecture: Architecture::Transformer,
            vocab_size,
            unused_tokens: 0,
            block_size,
            n_layer,
            n_head,
            n_kv_head: n_head,
            head_size: 0,
            n_embd,
            n_inner: default_inner(FeedForward::Gelu, n_embd),
            bias: false,
            dropout: 0.0,
            position: Position::Learned,
            conv_kernel: 0,
            norm: Norm::Layer,
            norm_eps: norm_eps(),
            norm_place: NormPlace::Pre,
            feed_forward: FeedForward::Gelu,
            tied: true,
            details: Details::default(),
            causal: true,
            lora: Lora::default(),
        }
    }

    /// Whether a model of these sizes can be built.
    pub fn check(&self) -> Result<(), SizeError> {
        let Self { vocab_size, block_size, n_layer, n_head, n_kv_head, head_size, n_embd, n_inner, .. } =
            *self;
        let sizes = [vocab_size, block_size, n_layer, n_head, n_kv_head, head_size, n_embd, n_inner];
        let sizes = sizes.into_iter().chain([self.conv_kernel, self.lora.rank]);
        for (value, (name, range)) in sizes.zip(SIZES) {
            if !range.contains(&value) {
                return Err(SizeError::Range { name, value, range });
            }
        }
        if self.is_recurrent() && block_size.saturating_mul(n_layer) > MOST_STEPS {
            return Err(SizeError::Steps { block_size, n_layer });
        }
        if self.architecture == Architecture::Transformer {
            if head_size == 0 && !n_embd.is_multiple_of(n_head) {
                return Err(SizeError::Heads { n_embd, n_head });
            }
            if !n_head.is_multiple_of(n_kv_head) {
                return Err(SizeError::KeyHeads { n_head, n_kv_head });
            }
            if self.position == Position::Rope && !self.head_size().is_multiple_of(2) {
                return Err(SizeError::OddHead(self.head_size()));
            }
            if self.conv_kernel == 1 {
                return Err(SizeError::OneTap);
            }
            self.check_details()?;
        }
        if !self.causal && self.architecture != Architecture::Transformer {
            return Err(SizeError::OneSided(self.architecture));
        }
        if !is_share(self.dropout) {
            return Err(SizeError::Dropout(self.dropout));
        }
        if !(1e-12..=1.0).contains(&self.norm_eps) {
            return Err(SizeError::NormEps(self.norm_eps));
        }
        Ok(())
    }

    fn check_details(&self) -> Result<(), SizeError> {
        let Details { rope_width, window, parallel, .. } = self.details;
        if rope_width > self.head_size() || !rope_width.is_multiple_of(2) {
            return Err(SizeError::RopeWidth(rope_width, self.head_size()));
        }
        if window > 0 && !self.causal {
            return Err(SizeError::Window);
        }
        if parallel && self.norm_place != NormPlace::Pre {
            return Err(SizeError::Parallel);
        }
        let details = &self.details;
        for (name, value) in [
            ("rope_base", Some(details.rope_base)),
            ("rope_local_base", details.rope_local_base),
            ("embedding_scale", details.embedding_scale),
            ("attention_scale", details.attention_scale),
        ] {
            if let Some(value) = value.filter(|value| !(1e-30..=1e30).contains(value)) {
                return Err(SizeError::Detail { name, value });
            }
        }
        Ok(())
    }

    /// Channels of one head.
    pub fn head_size(&self) -> usize {
        if self.head_size > 0 { self.head_size } else { self.n_embd / self.n_head }
    }

    /// Ids that are tokens: `vocab_size` without the padding.
    pub fn n_tokens(&self) -> usize {
        self.vocab_size - self.unused_tokens
    }

    /// Bytes of the keys and values that a Transformer keeps of a whole context while it writes.
    pub fn cache_bytes(&self) -> u64 {
        let sizes = [2 * size_of::<f32>(), self.n_layer, self.n_kv_head, self.head_size(), self.block_size];
        let is_kept = self.architecture == Architecture::Transformer && self.causal;
        if is_kept { sizes.into_iter().fold(1, |all, size| all.saturating_mul(size as u64)) } else { 0 }
    }

    /// Whether it reads one token after the other and carries a state.
    pub fn is_recurrent(&self) -> bool {
        matches!(self.architecture, Architecture::Rnn | Architecture::Gru | Architecture::Lstm)
    }

    /// Whether it is GPT-2 but for what GPT-2's `config.json` has a word for, sizes and the non-linear function among
    /// them: what `transformers` can load as such.
    pub fn is_gpt2(&self) -> bool {
        let plain = Self {
            unused_tokens: self.unused_tokens,
            n_inner: self.n_inner,
            bias: self.bias,
            dropout: self.dropout,
            norm_eps: self.norm_eps,
            feed_forward: self.feed_forward,
            tied: self.tied,
            lora: self.lora,
            ..Self::gpt(self.vocab_size, self.block_size, self.n_layer, self.n_head, self.n_embd)
        };
        *self == plain && !self.feed_forward.is_gated()
    }
}

fn norm_eps() -> f64 {
    1e-5
}

/// Channels inside a feed-forward half where none are asked for: 4 n, or for a gate, which has three matrices
/// in place of two, 8/3 n, rounded up to a multiple of 8.
pub fn default_inner(feed_forward: FeedForward, n_embd: usize) -> usize {
    match feed_forward {
        // Far above any width both forms saturate, to be refused as an `n_inner`.
        FeedForward::Swiglu | FeedForward::Geglu => n_embd.saturating_mul(8).div_ceil(3).next_multiple_of(8),
        _ => n_embd.saturating_mul(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_make_no_model_are_named() {
        let gpt = |n_head| ModelConfig::gpt(65, 64, 4, n_head, 128);
        assert_eq!(gpt(4).check(), Ok(()));
        let error = gpt(5).check().unwrap_err().to_string();
        assert!(error.contains("n_embd = 128") && error.contains("n_head = 5"), "{error}");
        assert!(error.contains("--n-embd 125 or 130"), "{error}");
        assert!(gpt(0).check().unwrap_err().to_string().contains("n_head = 0"));
        let error = ModelConfig { n_inner: 1 << 62, ..gpt(4) }.check().unwrap_err().to_string();
        assert!(error.contains("n_inner = 4611686018427387904") && error.contains("1 to 4194304"), "{error}");
        for (block_size, n_layer) in [(0, 4), (usize::MAX, 4), (64, 0), (64, 200_000)] {
            assert!(ModelConfig { block_size, n_layer, ..gpt(4) }.check().is_err(), "{block_size} {n_layer}");
        }
        assert!(ModelConfig::gpt(65, 64, 4, 4, usize::MAX / 2).check().is_err());
        let unrolled = |block_size| ModelConfig { architecture: Architecture::Gru, block_size, ..gpt(4) };
        assert_eq!(unrolled(4096).check(), Ok(()));
        assert_eq!(unrolled(4097).check(), Err(SizeError::Steps { block_size: 4097, n_layer: 4 }));
        let error = ModelConfig { n_kv_head: 3, ..gpt(4) }.check();
        assert_eq!(error, Err(SizeError::KeyHeads { n_head: 4, n_kv_head: 3 }));
        let odd = ModelConfig { position: Position::Rope, ..gpt(128) };
        assert_eq!(odd.check(), Err(SizeError::OddHead(1)));
        let gru = ModelConfig { architecture: Architecture::Gru, causal: false, ..gpt(4) };
        assert_eq!(gru.check(), Err(SizeError::OneSided(Architecture::Gru)));
        for dropout in [1.0, 0.999_999_999_99, -0.1, f64::NAN] {
            let config = ModelConfig { dropout, ..gpt(4) };
            assert!(matches!(config.check(), Err(SizeError::Dropout(_))));
        }
    }

    #[test]
    fn gates_have_as_many_weights_as_the_plain_form() {
        assert_eq!(default_inner(FeedForward::Gelu, 128), 512);
        assert_eq!(default_inner(FeedForward::Swiglu, 128), 344);
    }
}
