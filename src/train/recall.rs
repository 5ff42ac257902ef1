//! The recall task: the model reads a symbol, then noise, and at the end it must name the symbol.
//!
//! What makes it hard is the distance between the two: a recurrent net has to carry the symbol through every step
//! between, and the gradient has to come back the same way (Hochreiter 1991; Bengio et al. 1994). Attention looks it
//! up.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::source::{Batch, Source, SourceError};
use super::trainer::{TrainError, Trainer};
use crate::engine::device::{Device, HostData};
use crate::engine::op::{OpError, Var};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::{Architecture, ModelConfig, Position};
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::objective::tokens;
use crate::run::config::TrainConfig;
use crate::run::presets;
use crate::text::dataset::{Purpose, Split, batch_rng, below};

/// Tokens `0..SYMBOLS` are the symbols, the next `NOISE` the noise, and [`QUESTION`] asks.
pub const SYMBOLS: usize = 8;
pub const NOISE: usize = 8;
pub const QUESTION: u32 = (SYMBOLS + NOISE) as u32;
pub const VOCAB_SIZE: usize = SYMBOLS + NOISE + 1;

/// Rows of noise with one symbol in each and the question last.
#[derive(Clone, Debug)]
pub struct Recall {
    pub batch_size: usize,
    /// Tokens of a row.
    pub time: usize,
    /// Steps from the symbol to the question; each below `time`, all equally likely.
    pub distances: RangeInclusive<usize>,
    /// Whether rows stand (time, batch), as recurrent nets read them.
    pub time_major: bool,
    pub seed: u64,
}

impl Recall {
    /// Rows as long as the model's window, with the symbol anywhere before the question.
    pub fn anywhere(model: &ModelConfig, batch_size: usize, seed: u64) -> Self {
        let time = model.block_size;
        Self { batch_size, time, distances: 1..=time - 1, time_major: model.is_recurrent(), seed }
    }

    /// The same with the symbol `distance` steps before the question.
    pub fn at(&self, distance: usize) -> Self {
        Self { distances: distance..=distance, ..self.clone() }
    }

    /// The index of token `t` of row `b`.
    fn place(&self, b: usize, t: usize) -> usize {
        if self.time_major { t * self.batch_size + b } else { b * self.time + t }
    }
}

impl Recall {
    /// What a row's question weighs is 1/batch; all other tokens weigh nothing.
    pub fn rows(&self, purpose: Purpose, step: u64, micro: u64) -> Batch {
        let mut rng = batch_rng(self.seed, purpose, step, micro);
        let len = self.batch_size * self.time;
        let (mut tokens, mut targets, mut weights) = (vec![0; len], vec![0; len], vec![0.0; len]);
        let (nearest, farthest) = (*self.distances.start(), *self.distances.end());
        for b in 0..self.batch_size {
            let symbol = below(SYMBOLS, &mut rng) as u32;
            let question = self.time - 1;
            let shown = question - nearest - below(farthest - nearest + 1, &mut rng);
            for t in 0..question {
                let noise = (SYMBOLS + below(NOISE, &mut rng)) as u32;
                tokens[self.place(b, t)] = if t == shown { symbol } else { noise };
            }
            let asked = self.place(b, question);
            tokens[asked] = QUESTION;
            targets[asked] = symbol;
            weights[asked] = 1.0 / self.batch_size as f32;
        }
        Batch { tokens, targets, weights, ..Batch::default() }
    }
}

impl Source for Recall {
    fn name(&self) -> &str {
        "recall"
    }

    fn batch(&self, _: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        Ok(self.rows(purpose, step, micro))
    }

    fn prompt(&self) -> &[u32] {
        &[QUESTION]
    }
}

/// A run of a small model of one layer on rows of `time` tokens. A Transformer gets no positions, so that it
/// can look farther than it learned to.
pub fn small(architecture: Architecture, time: usize, steps: u64) -> TrainConfig {
    let learning_rate = if architecture == Architecture::Transformer { 4e-3 } else { 8e-3 };
    let mini = presets::named(presets::DEFAULT).expect("the default is one of the presets");
    let position = Position::None;
    TrainConfig {
        model: ModelConfig {
            architecture,
            position,
            n_layer: 1,
            n_head: 1,
            n_embd: 32,
            block_size: time,
            ..mini.model
        },
        batch_size: 32,
        steps,
        learning_rate,
        min_learning_rate: learning_rate / 10.0,
        warmup_steps: 20,
        weight_decay: 0.0,
        ..mini
    }
}

/// The standard deviation with which embeddings begin. A recurrent net's begin here with 1: without a norm before
/// them, its gates would hardly distinguish a symbol from noise. A Transformer's norms see to that.
const EMBEDDING_STD: f32 = 0.02;

/// A model and its task.
pub struct Learner {
    pub model: ModelConfig,
    pub task: Recall,
    trainer: Trainer,
}

impl Learner {
    /// An untrained model on a device that holds no other, its symbols to stand anywhere in its window.
    pub fn new(device: &mut dyn Device, config: &TrainConfig) -> Result<Self, TrainError> {
        let model = config.model(VOCAB_SIZE);
        let task = Recall::anywhere(&model, config.batch_size, config.seed);
        let trainer = Trainer::new(device, config.clone(), model.clone(), Box::new(task.clone()))?;
        let is_raw = |name: &str| model.is_recurrent() && name.ends_with("wte.weight");
        for table in trainer.parameters().iter().filter(|entry| is_raw(&entry.name)) {
            let larger: Vec<_> = device.read(&table.name)?.iter().map(|x| x / EMBEDDING_STD).collect();
            device.write(&table.name, &larger)?;
        }
        Ok(Self { model, task, trainer })
    }

    /// Trains it to the last step.
    pub fn learn(&mut self, device: &mut dyn Device) -> Result<(), TrainError> {
        self.trainer.train_to(device, self.trainer.config.steps).map(drop)
    }
}

/// The share of questions answered right at each distance, over `batches` batches; 1 / [`SYMBOLS`] by chance.
pub fn accuracy(
    device: &mut dyn Device,
    model: &ModelConfig,
    task: &Recall,
    distances: &[usize],
    batches: u64,
) -> Result<Vec<f64>, TrainError> {
    let mut tape = Tape::new("recall");
    let tokens = tape.input("tokens", Spec::u32(model.tokens_shape(task.batch_size, task.time)));
    let backbone = backbone(&mut tape, model, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
    let logits = backbone.logits(&mut tape, 0, task.batch_size * task.time)?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[logits])?), 0)?;
    let mut shares = Vec::new();
    for &distance in distances {
        let (mut right, mut asked) = (0, 0);
        for i in 0..batches {
            let batch = task.at(distance).rows(Purpose::Estimating, i, distance as u64);
            device.set_input(plan, "tokens", HostData::U32(&batch.tokens))?;
            device.run(plan, 0, &Step::default())?;
            let logits = device.results(true)?.unwrap_or_default().pop().unwrap_or_default();
            for row in (0..batch.weights.len()).filter(|&row| batch.weights[row] > 0.0) {
                let logits = &logits[row * VOCAB_SIZE..][..VOCAB_SIZE];
                let likeliest = (0..VOCAB_SIZE).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                right += usize::from(likeliest == Some(batch.targets[row] as usize));
                asked += 1;
            }
        }
        shares.push(f64::from(right as u32) / f64::from(asked.max(1)));
    }
    Ok(shares)
}

/// ‖∂loss/∂e‖ of the symbol's embedding e at each distance, averaged over a batch: how much of what the answer
/// should have been comes back to where it was seen.
pub fn gradients(
    device: &mut dyn Device,
    model: &ModelConfig,
    task: &Recall,
    distances: &[usize],
) -> Result<Vec<f64>, TrainError> {
    let mut tape = Tape::new("gradients");
    let tokens = tape.input("tokens", Spec::u32(model.tokens_shape(task.batch_size, task.time)));
    let backbone = backbone(&mut tape, model, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
    let rows = task.batch_size * task.time;
    let targets = tape.input("targets", Spec::u32([rows]));
    let weights = tape.input("weights", Spec::f32([rows]));
    let loss = tokens::loss(&mut tape, &backbone, targets, weights, true, &HashMap::new())?;
    let gradients = tape.backward(&loss.seeds, &HashMap::new())?;
    let of_embedding = embedded(&tape).and_then(|embedded| gradients.get(&embedded));
    let gradient = *of_embedding.ok_or_else(|| OpError::new("the model embeds no tokens"))?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[gradient])?), 0)?;
    let mut norms = Vec::new();
    for &distance in distances {
        let task = task.at(distance);
        let batch = task.rows(Purpose::Estimating, 0, distance as u64);
        device.set_input(plan, "tokens", HostData::U32(&batch.tokens))?;
        device.set_input(plan, "targets", HostData::U32(&batch.targets))?;
        device.set_input(plan, "weights", HostData::F32(&batch.weights))?;
        device.run(plan, 0, &Step::default())?;
        let gradient = device.results(true)?.unwrap_or_default().pop().unwrap_or_default();
        let norm = |b: usize| -> f64 {
            let row = &gradient[task.place(b, task.time - 1 - distance) * model.n_embd..][..model.n_embd];
            row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
        };
        // The loss is a mean: a row's own gradient is as many times as large as there are rows.
        norms.push((0..task.batch_size).map(norm).sum());
    }
    Ok(norms)
}

/// The tokens' vectors, on which all else depends.
fn embedded(tape: &Tape) -> Option<Var> {
    let embedding = tape.nodes.iter().find(|node| node.op.info().name == "embedding")?;
    embedding.outputs.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(time_major: bool) -> Recall {
        Recall { batch_size: 50, time: 9, distances: 1..=8, time_major, seed: 3 }
    }

    #[test]
    fn a_row_shows_one_symbol_and_asks_for_it_at_its_end() {
        for time_major in [false, true] {
            let mut seen = [0; 9];
            let task = task(time_major);
            let batch = task.rows(Purpose::Training, 0, 0);
            for b in 0..50 {
                let row: Vec<_> = (0..9).map(|t| batch.tokens[task.place(b, t)]).collect();
                let symbols: Vec<_> = (0..9).filter(|&t| (row[t] as usize) < SYMBOLS).collect();
                let asked = task.place(b, 8);
                assert_eq!((symbols.len(), row[8]), (1, QUESTION));
                assert_eq!((batch.targets[asked], batch.weights[asked]), (row[symbols[0]], 0.02));
                seen[8 - symbols[0]] += 1;
            }
            // 50 rows over 8 distances: each about 6 times.
            assert!(seen[0] == 0 && seen[1..].iter().all(|&n| n > 0), "{seen:?}");
            assert_eq!(batch.weights.iter().filter(|&&w| w > 0.0).count(), 50);
        }
    }

    #[test]
    fn a_distance_can_be_asked_for() {
        let batch = task(false).at(5).rows(Purpose::Estimating, 1, 0);
        assert!(batch.tokens.chunks(9).all(|row| (row[3] as usize) < SYMBOLS));
    }
}
