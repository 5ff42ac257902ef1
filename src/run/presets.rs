//! Presets: named sets of defaults for all settings of a run.
//!
//! In GPT-2's tokens TinyShakespeare is only 300,000 long, less than a hundredth of the weights of `tiny`: `tiny`,
//! `small`, `medium` and `lal` overfit it, so they use dropout and take few steps, and fewer the larger they are.

use super::config::TrainConfig;
use crate::models::config::{Architecture, ModelConfig, Position};
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;
use crate::optim::Optimizer;
use crate::optim::schedule::LrSchedule;
use crate::text::dataset::Sampling;

/// A preset: its name, what it is, and its settings.
type Preset = (&'static str, &'static str, fn() -> TrainConfig);

/// All presets, smallest first of each family.
const PRESETS: [Preset; 16] = [
    ("mini", "4 layers, 128 wide, characters: nanoGPT's recipe for a CPU", mini),
    ("char", "6 layers, 384 wide, characters: nanoGPT's recipe for a GPU", char),
    ("tiny", "4 layers, 128 wide, GPT-2's tokens", || TrainConfig { batch_size: 16, ..bpe(4, 128, 128) }),
    ("small", "6 layers, 384 wide, GPT-2's tokens", || TrainConfig { batch_size: 16, ..bpe(6, 384, 256) }),
    ("medium", "8 layers, 512 wide, GPT-2's tokens", || large(8, 512)),
    ("lal", "12 layers, 768 wide, GPT-2's tokens", || large(12, 768)),
    ("gpt2", "12 layers, 768 wide: GPT-2 124M, on gigabytes of text", gpt2),
    ("tales-mini", "4 layers, 128 wide: for the Tales world and fine-tuning", tales),
    ("llama-mini", "mini with the parts of Llama", llama),
    ("bert-mini", "mini as BERT: sees both sides, fills in masked tokens", bert),
    ("rnn-mini", "2 layers, 384 wide: a recurrent net", || recurrent(Architecture::Rnn, 384)),
    ("gru-mini", "2 layers, 256 wide: a gated recurrent net", || recurrent(Architecture::Gru, 256)),
    ("lstm-mini", "2 layers, 256 wide: long short-term memory", || recurrent(Architecture::Lstm, 256)),
    ("mlp-mini", "a window of 16 characters through one hidden layer", mlp),
    ("bigram", "a table: the next character by the last one", bigram),
    ("skipgram", "word vectors from neighbours up to 5 words away", skipgram),
];

/// The names of all presets.
pub const NAMES: [&str; PRESETS.len()] = {
    let mut names = [""; PRESETS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = PRESETS[i].0;
        i += 1;
    }
    names
};

/// The preset of a run that names none.
pub const DEFAULT: &str = "mini";

/// The preset called `name`, one of [`NAMES`].
pub fn named(name: &str) -> Option<TrainConfig> {
    let (_, _, preset) = PRESETS.iter().find(|(known, ..)| *known == name)?;
    let preset = preset();
    Some(TrainConfig { preset: name.to_owned(), min_learning_rate: tenth(preset.learning_rate), ..preset })
}

/// Every preset on a line, with what it is.
pub fn list() -> String {
    let line = |(name, about, _): &Preset| format!("{name:<11}{about}");
    PRESETS.iter().map(line).collect::<Vec<_>>().join("\n")
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

/// nanoGPT, `config/train_shakespeare_char.py` with the README's flags for a CPU.
fn mini() -> TrainConfig {
    TrainConfig {
        preset: String::new(),
        data: None,
        val_data: None,
        text_key: "text".into(),
        document_separator: String::new(),
        skip_bad_lines: false,
        tokenizer: "char".into(),
        model: gpt(4, 128, 64),
        steps: 2000,
        sampling: Sampling::Random,
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

/// `n_layer` blocks with as many heads, `n_embd` channels and windows of `block_size` tokens.
fn gpt(n_layer: usize, n_embd: usize, block_size: usize) -> ModelConfig {
    ModelConfig { n_kv_head: 0, n_inner: 0, ..ModelConfig::gpt(0, block_size, n_layer, n_layer, n_embd) }
}

/// nanoGPT, `config/train_shakespeare_char.py`.
fn char() -> TrainConfig {
    let model = ModelConfig { dropout: 0.2, ..gpt(6, 384, 256) };
    TrainConfig { model, batch_size: 64, steps: 5000, eval_iters: 200, ..mini() }
}

/// A small corpus in GPT-2's tokens.
fn bpe(n_layer: usize, n_embd: usize, block_size: usize) -> TrainConfig {
    let model = ModelConfig { dropout: 0.2, ..gpt(n_layer, n_embd, block_size) };
    TrainConfig { model, tokenizer: "gpt2".into(), batch_size: 8, sample_tokens: 60, ..mini() }
}

/// The same for more weights than it can teach: fewer steps at a lower rate.
fn large(n_layer: usize, n_embd: usize) -> TrainConfig {
    TrainConfig { steps: 1000, learning_rate: 6e-4, ..bpe(n_layer, n_embd, 512) }
}

/// nanoGPT, `config/train_gpt2.py` on one device: 40 micro-steps of 12 × 1024 tokens are half a million.
/// Biases and the tanh GELU are GPT-2's own, so that its weights fit.
fn gpt2() -> TrainConfig {
    TrainConfig {
        model: ModelConfig { bias: true, feed_forward: FeedForward::GeluTanh, ..gpt(12, 768, 1024) },
        steps: 600_000,
        sampling: Sampling::Random,
        batch_size: 12,
        grad_accum: 40,
        learning_rate: 6e-4,
        warmup_steps: 2000,
        beta2: 0.95,
        eval_every: 1000,
        eval_iters: 200,
        save_every: 1000,
        ..bpe(12, 768, 1024)
    }
}

/// `mini` for what comes after pretraining: blocks that hold a whole tale with questions about it, tokens that are
/// words, and what helps to find one word again among the others, or the one after a name. (The corpus has no more
/// than 1060 tokens.)
fn tales() -> TrainConfig {
    TrainConfig {
        data: Some("tales".into()),
        tokenizer: "bpe:1024".into(),
        model: ModelConfig { position: Position::Rope, conv_kernel: 4, ..gpt(4, 128, 256) },
        batch_size: 8,
        optimizer: Optimizer::Muon,
        learning_rate: 5e-3,
        // After about 2,000 steps it learns, rather suddenly, to look back for boxes and places; with 5,000 steps it
        // also memorizes its text, and ends further above the floor.
        steps: 3000,
        sample_tokens: 80,
        ..mini()
    }
}

/// Llama (Touvron et al. 2023) in the size of `mini`: RMS norms, rotary positions, a gated feed-forward half, and half
/// as many heads of keys as of queries.
fn llama() -> TrainConfig {
    let model = ModelConfig {
        position: Position::Rope,
        norm: Norm::Rms,
        feed_forward: FeedForward::Swiglu,
        n_kv_head: 2,
        ..gpt(4, 128, 64)
    };
    TrainConfig { model, ..mini() }
}

/// BERT (Devlin et al. 2019) in the size of `mini`: every token sees all others, and a seventh of them is masked and
/// predicted. Rotary positions and norms before each half are ModernBERT's (Warner et al. 2024): with learned positions
/// and norms after each half, as in the first BERT, 1,000 steps hardly teach it more than which characters are
/// frequent.
fn bert() -> TrainConfig {
    let model = ModelConfig { causal: false, bias: true, position: Position::Rope, ..gpt(4, 128, 64) };
    TrainConfig { model, learning_rate: 2e-3, ..mini() }
}

/// A recurrent net with about as many weights as `mini`, trained through windows of 64 tokens.
fn recurrent(architecture: Architecture, n_embd: usize) -> TrainConfig {
    TrainConfig { model: ModelConfig { architecture, n_layer: 2, n_embd, ..mini().model }, ..mini() }
}

/// Bengio et al. (2003) in the size of TinyShakespeare.
fn mlp() -> TrainConfig {
    let architecture = Architecture::Mlp;
    let model = ModelConfig { architecture, block_size: 16, n_embd: 32, n_inner: 512, ..mini().model };
    TrainConfig { model, batch_size: 256, ..mini() }
}

fn bigram() -> TrainConfig {
    let model = ModelConfig { architecture: Architecture::Bigram, ..mini().model };
    TrainConfig { model, learning_rate: 1e-1, weight_decay: 0.0, ..mini() }
}

/// word2vec (Mikolov et al. 2013) in the size of a small text.
fn skipgram() -> TrainConfig {
    let architecture = Architecture::Skipgram;
    TrainConfig {
        model: ModelConfig { architecture, n_embd: 64, block_size: 5, ..mini().model },
        tokenizer: "word".into(),
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
