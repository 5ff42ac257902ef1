//! Part 7: the Transformer, and what each of its pieces is worth.
//!
//! Attention moves information between tokens. The feed-forward half works on each token by itself. The residual
//! stream adds both up, norms keep it in bounds, and positions say where each token is. One model has all of these as
//! settings: those of GPT-2, of Llama, or of BERT, which sees both sides and fills in hidden tokens.
//!
//! First a small GPT learns the Tales world many times, each time with one piece removed or replaced. All else is the
//! same, the number of steps too. Then a BERT of that size learns to fill in hidden characters, and is
//! compared with the best that the grammar allows.
//!
//! Read with it: `src/models/transformer.rs`, `src/models/config.rs`, `src/train/ablation.rs`, `src/text/masked.rs`,
//! `src/text/tales/hidden.rs`.
//!
//! Run: `cargo run --release --example 07_transformer`

use std::error::Error;

use lal::engine::device::cpu::Cpu;
use lal::inspect::masked::{Restored, restored};
use lal::models::config::ModelConfig;
use lal::run::config::TrainConfig;
use lal::run::presets;
use lal::text::corpus::{TALES, TALES_SEED};
use lal::text::dataset::{Dataset, Split};
use lal::text::tales::Tales;
use lal::text::tokenizer::Tokenizer;
use lal::train::ablation::{CHANGES, Change, Outcome};
use lal::train::pretraining::pretraining;
use lal::train::trainer::Trainer;

/// Tales with a token for each character, and the least loss in nats per character that their validation part
/// allows.
pub struct World {
    pub text: String,
    pub tokenizer: Tokenizer,
    pub dataset: Dataset,
    pub floor: f64,
}

/// So many characters of tales, as `run` reads them.
pub fn world(run: &TrainConfig, characters: usize) -> Result<World, Box<dyn Error>> {
    let corpus = Tales::new().corpus(TALES_SEED, characters);
    let tokenizer = run.tokenizer(&corpus.text)?;
    let dataset = Dataset::new(TALES, &corpus.text, &tokenizer)?;
    Ok(World { floor: corpus.val_nats_per_char(), text: corpus.text, tokenizer, dataset })
}

/// A preset, made small enough for a table of it.
pub fn smaller(preset: &str, steps: u64) -> Result<TrainConfig, Box<dyn Error>> {
    let whole = presets::named(preset).ok_or("there is no such preset")?;
    let model = ModelConfig { n_layer: 2, n_embd: 64, ..whole.model };
    Ok(TrainConfig { model, steps, learning_rate: 3e-3, min_learning_rate: 3e-4, ..whole })
}

/// What a run with one change comes to.
pub fn ablate(change: &Change, run: &TrainConfig, world: &World) -> Result<Outcome, Box<dyn Error>> {
    Ok(change.outcome(&mut Cpu::<f32>::default(), run, &world.dataset, world.tokenizer.vocab_size())?)
}

/// Trains a BERT and measures how many hidden characters it restores.
pub fn fill_in(run: TrainConfig, characters: usize, windows: usize) -> Result<Restored, Box<dyn Error>> {
    let World { text, tokenizer, dataset, .. } = world(&run, characters)?;
    let model = run.model(tokenizer.vocab_size());
    let mut device = Cpu::<f32>::default();
    let source = pretraining(&run, &model, dataset.clone())?;
    let steps = run.steps;
    let mut trainer = Trainer::new(&mut device, run, model.clone(), source)?;
    trainer.train_to(&mut device, steps)?;
    trainer.estimate(&mut device, Split::Val)?;
    Ok(restored(&mut device, &model, &tokenizer, &text, &dataset.val.all()?, windows)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // With a number of steps, the table of the whole preset; without, of a model for two minutes.
    let run = match std::env::args().nth(1) {
        Some(steps) => TrainConfig { steps: steps.parse()?, ..presets::named("mini").ok_or("no mini")? },
        None => smaller("mini", 300)?,
    };
    let tales = world(&run, 300_000)?;
    println!("a GPT {} wide after {} steps on tales, with one piece changed:\n", run.model.n_embd, run.steps);
    println!("{:<16}{:<22}{:>10}{:>10}{:>11}", "piece", "", "weights", "val loss", "difference");
    let mut whole = None;
    for change in &CHANGES {
        let Outcome { parameters, val_loss } = ablate(change, &run, &tales)?;
        let against = val_loss - *whole.get_or_insert(val_loss);
        println!("{:<16}{:<22}{parameters:>10}{val_loss:>10.4}{against:>+11.4}", change.piece, change.to);
    }
    println!("{:<48}{:>10.4}\n", "entropy of the data (floor)", tales.floor);

    let bert = smaller("bert-mini", 600)?;
    let Restored { asked, model, optimum } = fill_in(bert, 300_000, 200)?;
    println!(
        "a BERT of that size restores {:.1}% of {asked} hidden characters; the optimum is {:.1}%",
        100.0 * model,
        100.0 * optimum
    );
    Ok(())
}
