//! Presets: whole configurations by name, where settings start.
//!
//! | name | layers / heads / width | block | tokenizer | recipe |
//! |---|---|---|---|---|
//! | `mini` | 4 / 4 / 128 | 64 | char | nanoGPT's TinyShakespeare on a CPU; val loss 1.88 |
//! | `char` | 6 / 6 / 384 | 256 | char | nanoGPT's TinyShakespeare on a GPU; val loss 1.47 |
//! | `tiny` | 4 / 4 / 128 | 128 | gpt2 | |
//! | `small` | 6 / 6 / 384 | 256 | gpt2 | |
//! | `medium` | 8 / 8 / 512 | 512 | gpt2 | |
//! | `lal` | 12 / 12 / 768 | 512 | gpt2 | |
//! | `gpt2` | 12 / 12 / 768 | 1024 | gpt2 | nanoGPT's GPT-2 124M, on text by the gigabyte |
//!
//! | `tales-mini` | 4 / 4 / 128 | 256 | bpe:1024 | `mini` for the Tales world: sees whole tales, a token to a word |
//! | `llama-mini` | 4 / 4 / 128 | 64 | char | `mini` with Llama's pieces |
//! | `bert-mini` | 4 / 4 / 128 | 64 | char | `mini` as BERT: sees both sides, fills in masked tokens |
//! | `rnn-mini`, `gru-mini`, `lstm-mini` | 2 / – / 256 to 384 | 64 | char | recurrent nets |
//! | `mlp-mini` | 1 / – / 32 | 16 | char | a fixed window through one hidden layer |
//! | `bigram` | – | 64 | char | a table |
//! | `skipgram` | – / – / 64 | 5 | word | word vectors from neighbours up to 5 words away |
//!
//! In GPT-2's tokens TinyShakespeare is only 300,000 long, less than a hundredth of the weights of `tiny`:
//! the four models between overfit it, so they drop out and take few steps, and fewer the larger they are.

use super::config::TrainConfig;
use crate::models::config::{Architecture, NormPlace, Position};
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;
use crate::optim::Optimizer;
use crate::optim::schedule::LrSchedule;

/// All presets, smallest first of each kind.
pub const NAMES: [&str; 16] = [
    "mini",
    "char",
    "tiny",
    "small",
    "medium",
    "lal",
    "gpt2",
    "tales-mini",
    "llama-mini",
    "bert-mini",
    "rnn-mini",
    "gru-mini",
    "lstm-mini",
    "mlp-mini",
    "bigram",
    "skipgram",
];

/// The preset of a run that names none.
pub const DEFAULT: &str = "mini";

/// The preset called `name`, one of [`NAMES`].
pub fn named(name: &str) -> Option<TrainConfig> {
    let preset = match name {
        "mini" => mini(),
        "char" => char(),
        "tiny" => TrainConfig { batch_size: 16, ..shape(4, 128, 128, bpe()) },
        "small" => TrainConfig { batch_size: 16, ..shape(6, 384, 256, bpe()) },
        "medium" => TrainConfig { steps: 1000, learning_rate: 6e-4, ..shape(8, 512, 512, bpe()) },
        "lal" => TrainConfig { steps: 1000, learning_rate: 6e-4, ..shape(12, 768, 512, bpe()) },
        "gpt2" => gpt2(),
        "tales-mini" => tales(),
        "llama-mini" => llama(),
        "bert-mini" => bert(),
        "rnn-mini" => recurrent(Architecture::Rnn, 384),
        "gru-mini" => recurrent(Architecture::Gru, 256),
        "lstm-mini" => recurrent(Architecture::Lstm, 256),
        "mlp-mini" => TrainConfig {
            architecture: Architecture::Mlp,
            block_size: 16,
            batch_size: 256,
            n_embd: 32,
            n_inner: 512,
            ..mini()
        },
        "bigram" => TrainConfig {
            architecture: Architecture::Bigram,
            learning_rate: 1e-1,
            weight_decay: 0.0,
            ..mini()
        },
        "skipgram" => skipgram(),
        _ => return None,
    };
    Some(TrainConfig { preset: name.to_owned(), min_learning_rate: tenth(preset.learning_rate), ..preset })
}

/// The end of the cosine where none is set: a tenth of the peak, as nanoGPT and Chinchilla (Hoffmann et
/// al. 2022) have it.
pub(super) fn tenth(peak: f64) -> f64 {
    times(peak, 0.1)
}

/// A learning rate times a factor, to ten digits, so that a tenth of 6e-4 is 6e-5 and not 5.9999999999999995e-5.
pub(super) fn times(rate: f64, factor: f64) -> f64 {
    let product = rate * factor;
    format!("{product:.9e}").parse().unwrap_or(product)
}

/// `n_layer` blocks with as many heads, `n_embd` channels and windows of `block_size` tokens.
fn shape(n_layer: usize, n_embd: usize, block_size: usize, recipe: TrainConfig) -> TrainConfig {
    TrainConfig { n_layer, n_head: n_layer, n_embd, block_size, ..recipe }
}

/// nanoGPT, `config/train_shakespeare_char.py` with the README's flags for a CPU.
fn mini() -> TrainConfig {
    TrainConfig {
        preset: String::new(),
        data: None,
        tokenizer: "char".into(),
        architecture: Architecture::Transformer,
        n_layer: 4,
        n_head: 4,
        n_kv_head: 0,
        n_embd: 128,
        n_inner: 0,
        block_size: 64,
        bias: false,
        dropout: 0.0,
        position: Position::Learned,
        conv_kernel: 0,
        norm: Norm::Layer,
        norm_place: NormPlace::Pre,
        feed_forward: FeedForward::Gelu,
        tied: true,
        causal: true,
        steps: 2000,
        batch_size: 12,
        grad_accum: 1,
        optimizer: Optimizer::AdamW,
        schedule: LrSchedule::Cosine,
        learning_rate: 1e-3,
        min_learning_rate: 1e-4,
        warmup_steps: 100,
        beta1: 0.9,
        beta2: 0.99,
        weight_decay: 0.1,
        grad_clip: 1.0,
        eval_every: 250,
        eval_iters: 20,
        sample_tokens: 200,
        save_every: 250,
        seed: 1337,
    }
}

/// nanoGPT, `config/train_shakespeare_char.py`.
fn char() -> TrainConfig {
    let recipe = TrainConfig { batch_size: 64, steps: 5000, dropout: 0.2, eval_iters: 200, ..mini() };
    shape(6, 384, 256, recipe)
}

/// A small corpus in GPT-2's tokens.
fn bpe() -> TrainConfig {
    TrainConfig { tokenizer: "gpt2".into(), batch_size: 8, dropout: 0.2, sample_tokens: 60, ..mini() }
}

/// nanoGPT, `config/train_gpt2.py` on one device: 40 micro-steps of 12 × 1024 tokens are half a million.
/// Biases and the tanh GELU are GPT-2's own, so that its weights fit.
fn gpt2() -> TrainConfig {
    let recipe = TrainConfig {
        bias: true,
        dropout: 0.0,
        feed_forward: FeedForward::GeluTanh,
        steps: 600_000,
        batch_size: 12,
        grad_accum: 40,
        learning_rate: 6e-4,
        warmup_steps: 2000,
        beta2: 0.95,
        eval_every: 1000,
        eval_iters: 200,
        save_every: 1000,
        ..bpe()
    };
    shape(12, 768, 1024, recipe)
}

/// `mini` for what comes after pretraining: blocks that hold a whole tale with questions about it, tokens that are
/// words, and what helps to find one word again among the others, or the one behind a name. (The corpus has no more
/// than 1060 tokens.)
fn tales() -> TrainConfig {
    TrainConfig {
        data: Some("tales".into()),
        tokenizer: "bpe:1024".into(),
        position: Position::Rope,
        conv_kernel: 4,
        block_size: 256,
        batch_size: 8,
        optimizer: Optimizer::Muon,
        learning_rate: 5e-3,
        // After about 2,000 steps it learns, rather suddenly, to look back for boxes and places; with 5,000 steps it
        // also learns its text by heart, and ends further above the floor.
        steps: 3000,
        sample_tokens: 80,
        ..mini()
    }
}

/// Llama (Touvron et al. 2023) in the size of `mini`: RMS norms, turned queries and keys, a gate, and half as
/// many heads of keys as of queries.
fn llama() -> TrainConfig {
    TrainConfig {
        position: Position::Rope,
        norm: Norm::Rms,
        feed_forward: FeedForward::Swiglu,
        n_kv_head: 2,
        ..mini()
    }
}

/// BERT (Devlin et al. 2019) in the size of `mini`: every token sees all others, and a seventh of them is hidden
/// and guessed. Turned positions and norms before each half are ModernBERT's (Warner et al. 2024): with learned ones
/// and norms behind, as in the first, 1,000 steps hardly teach it more than which characters are frequent.
fn bert() -> TrainConfig {
    let recipe = mini();
    TrainConfig { causal: false, bias: true, position: Position::Rope, learning_rate: 2e-3, ..recipe }
}

/// A recurrent net with about as many weights as `mini`, trained through windows of 64 tokens.
fn recurrent(architecture: Architecture, n_embd: usize) -> TrainConfig {
    TrainConfig { architecture, n_layer: 2, n_embd, ..mini() }
}

/// word2vec (Mikolov et al. 2013) in the size of a small text.
fn skipgram() -> TrainConfig {
    TrainConfig {
        architecture: Architecture::Skipgram,
        tokenizer: "word".into(),
        n_embd: 64,
        block_size: 5,
        batch_size: 512,
        steps: 4000,
        learning_rate: 1e-2,
        weight_decay: 0.0,
        sample_tokens: 0,
        ..mini()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_preset_and_no_other() {
        for name in NAMES {
            assert_eq!(named(name).unwrap().preset, name);
        }
        assert_eq!(named("nano"), None);
        assert!(NAMES.contains(&DEFAULT));
    }

    #[test]
    fn sizes_are_those_of_the_series() {
        for (name, parameters) in [
            ("mini", 804_096),
            ("char", 10_745_088),
            ("tiny", 7_236_864),
            ("small", 30_018_816),
            ("medium", 51_168_256),
            ("lal", 123_944_448),
            ("gpt2", 124_439_808),
        ] {
            let preset = named(name).unwrap();
            let vocab_size = if preset.tokenizer == "char" { 65 } else { 50_257 };
            assert_eq!(preset.model(vocab_size).n_parameters(), parameters, "{name}");
        }
    }

    #[test]
    fn a_tenth_is_as_short_as_the_whole() {
        assert_eq!([6e-4, 1e-3, 3.0, 1e-300].map(tenth), [6e-5, 1e-4, 0.3, 1e-301]);
    }
}
