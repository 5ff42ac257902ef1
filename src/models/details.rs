//! What published Transformers have besides the settings of a run: [`ModelConfig`](super::config::ModelConfig) with the
//! defaults of [`Details`] is a model that `lal train` makes.

use serde::{Deserialize, Serialize};

use crate::engine::tape::RopeScaling;
use crate::nn::attention::QkNorm;

/// Parts of a Transformer that no setting of a run names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Details {
    /// Base of the angles of rotary embeddings.
    pub rope_base: f64,
    pub rope_scaling: RopeScaling,
    /// Channels of a head that rotary embeddings turn; 0 for all.
    pub rope_width: usize,
    /// Base of the angles in layers that have a window, without scaling (Gemma 3); `None` for `rope_base`.
    pub rope_local_base: Option<f64>,
    /// Layers without rotary embeddings (SmolLM3).
    pub no_rope: Vec<usize>,
    /// Tokens that a token attends to, itself the last (Mistral); 0 for all before it.
    pub window: usize,
    /// Layers without the window.
    pub full_attention: Vec<usize>,
    /// Whether queries, keys and values have a bias, where it is not as `bias` says (Qwen 2); the same for the output
    /// of attention and for the feed-forward half.
    pub qkv_bias: Option<bool>,
    pub attention_out_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    /// A norm of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Attention and the feed-forward half read the same stream, and their results are added to it together
    /// (GPT-NeoX).
    pub parallel: bool,
    /// `max_position_embeddings` of a published model, where that is more than a block; 0 where it is not known.
    pub max_positions: usize,
    /// What tokens' vectors are multiplied by (Gemma).
    pub embedding_scale: Option<f64>,
    /// A norm of what the first block reads (BERT).
    pub embedding_norm: bool,
    /// Rows of the table of token types (BERT's `type_vocab_size`); 0 for none. Every token of a text has type 0.
    pub token_types: usize,
    /// It makes vectors of tokens alone: what turns them into logits is not known.
    pub encoder: bool,
    /// What q·k is multiplied by; `None` for 1/√head_size.
    pub attention_scale: Option<f64>,
}

impl Default for Details {
    fn default() -> Self {
        Self {
            rope_base: 1e4,
            rope_scaling: RopeScaling::None,
            rope_width: 0,
            rope_local_base: None,
            no_rope: Vec::new(),
            window: 0,
            full_attention: Vec::new(),
            qkv_bias: None,
            attention_out_bias: None,
            mlp_bias: None,
            qk_norm: None,
            parallel: false,
            max_positions: 0,
            embedding_scale: None,
            embedding_norm: false,
            token_types: 0,
            encoder: false,
            attention_scale: None,
        }
    }
}

impl Details {
    /// The window of a layer; 0 for none.
    pub fn window_of(&self, layer: usize) -> usize {
        if self.full_attention.contains(&layer) { 0 } else { self.window }
    }
}
