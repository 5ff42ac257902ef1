//! Part 1, the next word: a language model is a distribution over what comes next, given what came before.
//!
//! The simplest one counts. A *bigram* table holds for each token how often every other followed it; longer
//! histories predict better, as far as there is text to count. The same table can be *trained*: a row of logits for
//! each token, moved by gradients until its softmax says what counting says. Both minimise the same loss, and counting
//! gives its exact minimum, so the trained table comes down to the counted one and never below it.
//!
//! A token need not be a letter: byte-pair encoding joins what often stands together. And what a model expects is not
//! yet what it says: temperature flattens or sharpens the distribution, top-k, top-p and min-p cut off its tail.
//!
//! `cargo run --release --example 01_next_word`

use std::error::Error;

use lal::engine::device::Device;
use lal::engine::device::cpu::Cpu;
use lal::inspect::logits::{Expectation, expectation};
use lal::run::settings::Settings;
use lal::sample::strategy::Strategy;
use lal::text::dataset::Dataset;
use lal::text::ngram::{Ngram, Smoothing, bigram_floor};
use lal::text::tales::Tales;
use lal::text::tokenizer::Tokenizer;
use lal::train::on_text::on_text;

/// What counting and training found; losses in nats per character.
pub struct Findings {
    /// Of histories of 0 to 4 characters, by counting, on text that was not counted.
    pub ngrams: Vec<f64>,
    /// The least that any model could reach there.
    pub floor: f64,
    /// Of the bigram table on the text it was made from: counted, and trained.
    pub counted: f64,
    pub trained: f64,
    /// The trained logits of what follows a `t`.
    pub logits: Vec<f32>,
    pub tokenizer: Tokenizer,
}

/// What `chars` characters of the Tales world teach by counting and in `steps` steps of training.
pub fn run(chars: usize, steps: u64) -> Result<Findings, Box<dyn Error>> {
    let corpus = Tales::new().corpus(1, chars);
    let settings = Settings { preset: Some("bigram".into()), steps: Some(steps), ..Settings::default() };
    let mut cpu = Cpu::<f32>::default();
    let (mut trainer, tokenizer) = on_text(&mut cpu, &settings, "tales", &corpus.text)?;
    trainer.train_to(&mut cpu, steps)?;

    let vocab_size = tokenizer.vocab_size();
    let dataset = Dataset::new("tales", &corpus.text, &tokenizer)?;
    let [train, val] = [dataset.train.all()?, dataset.val.all()?];
    let loss = |n| Ngram::new(&train, n, vocab_size, Smoothing::KneserNey).nats_per_token(&val);
    let table = cpu.read("bigram.weight")?;
    let row = |token: u32| &table[token as usize * vocab_size..][..vocab_size];
    let nats: f64 = train.windows(2).map(|pair| cross_entropy(row(pair[0]), pair[1])).sum();
    Ok(Findings {
        ngrams: (1..=5).map(loss).collect(),
        floor: corpus.val_nats_per_char(),
        counted: bigram_floor(&train, vocab_size),
        trained: nats / (train.len() - 1) as f64,
        logits: row(tokenizer.encode("t")?[0]).to_vec(),
        tokenizer,
    })
}

/// −ln of the softmax of `logits` at `target`.
fn cross_entropy(logits: &[f32], target: u32) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    largest + sum.ln() - f64::from(logits[target as usize])
}

/// Ways to draw from a distribution.
pub fn strategies() -> [(&'static str, Strategy); 7] {
    let plain = Strategy::default;
    [
        ("as it is", plain()),
        ("temperature 0.5", Strategy { temperature: 0.5, ..plain() }),
        ("temperature 2", Strategy { temperature: 2.0, ..plain() }),
        ("top-k 3", Strategy { top_k: Some(3), ..plain() }),
        ("top-p 0.9", Strategy { top_p: Some(0.9), ..plain() }),
        ("min-p 0.1", Strategy { min_p: Some(0.1), ..plain() }),
        ("greedy", Strategy { temperature: 0.0, ..plain() }),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let found = run(300_000, 2000)?;
    println!("Counting, tested on held-out text:");
    for (n, loss) in found.ngrams.iter().enumerate() {
        println!("  after {n} characters: {loss:.3} nats per character");
    }
    println!("  entropy of the data: {:.3}, the floor of any model\n", found.floor);

    let Findings { counted, trained, .. } = found;
    println!("A bigram table, on its training text:");
    println!("  counted {counted:.4}, trained {trained:.4}: {:.4} above\n", trained - counted);

    let text = Tales::new().corpus(1, 100_000).text;
    let line = text.lines().next().unwrap_or_default();
    println!("{line}");
    for name in ["char", "bpe:300", "bpe:600", "word"] {
        let tokenizer = Tokenizer::from_name(name, &text)?;
        let tokens = tokenizer.encode(line)?;
        let pieces: Vec<_> = tokens.iter().take(14).map(|&token| tokenizer.decode(&[token])).collect();
        println!("  {name:<8} {:>3} tokens: {} …", tokens.len(), pieces.join("|"));
    }

    println!("\nWhat follows a \"t\":");
    for (name, strategy) in strategies() {
        let Expectation { tokens, drawn_entropy, kept, .. } = expectation(&found.logits, &[], strategy)?;
        let likeliest = tokens.iter().filter(|token| token.drawn > 0.0).take(6);
        let name_of = |id| found.tokenizer.decode(&[id]).replace(' ', "␣").replace('\n', "⏎");
        let shares: Vec<_> =
            likeliest.map(|token| format!("{} {:4.1}%", name_of(token.id), 100.0 * token.drawn)).collect();
        println!("  {name:<16} {drawn_entropy:.2} bits, {kept:>2} left: {}", shares.join("  "));
    }
    Ok(())
}
