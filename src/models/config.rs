//! The sizes of a GPT.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which Gaussian error linear unit: nanoGPT's exact one, or GPT-2's approximation by tanh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    Exact,
    Tanh,
}

/// A decoder-only transformer as GPT-2 (Radford et al. 2019) has it: learned positions, layer norm before
/// each half of a block, a head tied to the token embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct GptConfig {
    /// Token ids are below this.
    pub vocab_size: usize,
    /// The most tokens the model sees at once.
    pub block_size: usize,
    pub n_layer: usize,
    pub n_head: usize,
    /// Channels of a token's vector: the width of the model.
    pub n_embd: usize,
    /// Whether linear layers and layer norms add a bias.
    pub bias: bool,
    /// The share of activations zeroed in training, 0 ≤ `dropout` < 1.
    pub dropout: f64,
    pub gelu: Gelu,
}

/// Sizes that make no model, and what to change.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SizeError {
    #[error("{0} is 0: a model needs at least 1")]
    Zero(&'static str),
    #[error(
        "n_embd = {n_embd} is not divisible by n_head = {n_head}: every head has as many channels; choose \
         --n-embd {} or {}, or another --n-head", n_embd / n_head * n_head, (n_embd / n_head + 1) * n_head
    )]
    Heads { n_embd: usize, n_head: usize },
    #[error("dropout = {0} is outside 0 ≤ dropout < 1: 0 turns it off, 0.1 zeroes a tenth")]
    Dropout(f64),
}

impl GptConfig {
    /// Whether a model of these sizes can be built.
    ///
    /// # Errors
    /// When a size is zero, the heads do not divide the channels, or dropout is no share.
    pub fn check(&self) -> Result<(), SizeError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("block_size", self.block_size),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_embd", self.n_embd),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(SizeError::Zero(name));
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(SizeError::Heads { n_embd: self.n_embd, n_head: self.n_head });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(SizeError::Dropout(self.dropout));
        }
        Ok(())
    }

    /// How many numbers are trained; the tied head counts once, as the embedding.
    pub fn n_parameters(&self) -> usize {
        let c = self.n_embd;
        // c_attn (3C, C), c_proj (C, C), c_fc (4C, C), c_proj (C, 4C)
        let matrices = 12 * c * c;
        let norms = 2 * c;
        let biases = if self.bias { 2 * c + (3 + 1 + 4 + 1) * c } else { 0 };
        let last_norm = if self.bias { 2 * c } else { c };
        (self.vocab_size + self.block_size) * c + self.n_layer * (matrices + norms + biases) + last_norm
    }

    /// Channels of one head.
    pub fn head_size(&self) -> usize {
        self.n_embd / self.n_head
    }
}

impl fmt::Display for Gelu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Tanh => "tanh",
        })
    }
}

impl FromStr for Gelu {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "exact" => Ok(Self::Exact),
            "tanh" => Ok(Self::Tanh),
            _ => Err(format!("there is no GELU {name:?}: choose exact or tanh")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpt(n_layer: usize, n_head: usize, n_embd: usize, block_size: usize, vocab_size: usize) -> GptConfig {
        let gelu = Gelu::Exact;
        GptConfig { vocab_size, block_size, n_layer, n_head, n_embd, bias: false, dropout: 0.0, gelu }
    }

    /// nanoGPT's README gives 0.80M and 10.65M; it leaves the position table out of its count.
    #[test]
    fn parameters_are_counted_as_published() {
        let mini = gpt(4, 4, 128, 64, 65);
        assert_eq!(mini.n_parameters(), 804_096);
        assert_eq!(mini.n_parameters() - 64 * 128, 795_904);
        let char = gpt(6, 6, 384, 256, 65);
        assert_eq!(char.n_parameters() - 256 * 384, 10_646_784);
        let gpt2 = GptConfig { bias: true, ..gpt(12, 12, 768, 1024, 50_257) };
        assert_eq!(gpt2.n_parameters(), 124_439_808);
    }

    #[test]
    fn sizes_that_make_no_model_are_named() {
        assert_eq!(gpt(4, 4, 128, 64, 65).check(), Ok(()));
        let error = gpt(4, 5, 128, 64, 65).check().unwrap_err().to_string();
        assert!(error.contains("n_embd = 128") && error.contains("n_head = 5"), "{error}");
        assert!(error.contains("--n-embd 125 or 130"), "{error}");
        assert_eq!(gpt(4, 0, 128, 64, 65).check(), Err(SizeError::Zero("n_head")));
        assert_eq!(gpt(4, 4, 128, 0, 65).check(), Err(SizeError::Zero("block_size")));
        for dropout in [1.0, -0.1, f64::NAN] {
            let config = GptConfig { dropout, ..gpt(4, 4, 128, 64, 65) };
            assert!(matches!(config.check(), Err(SizeError::Dropout(_))));
        }
    }
}
