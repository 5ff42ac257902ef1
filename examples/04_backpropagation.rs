//! Part 4, backpropagation: how a network finds out which weight was to blame.
//!
//! The loss is a chain of functions, so its slope along any weight is a product of slopes, found from the loss
//! backwards in one sweep. On the tape each op appends its derivative as more ops. That these are right can be seen
//! without trusting them: move a weight a little, and see how much the loss moves.
//!
//! *XOR* is what a single layer cannot do: 1 where exactly one of two inputs is 1. Two layers learn it, whichever
//! optimiser follows the slope. The same machinery then learns to predict a character from the sixteen before it.
//!
//! `cargo run --release --example 04_backpropagation`

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::{Device, HostData};
use lal::engine::op::Var;
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::nn::linear::Linear;
use lal::ops::activation::{Activation, ActivationFunction};
use lal::ops::adamw::AdamW;
use lal::ops::logistic_loss::LogisticLoss;
use lal::ops::sum::Sum;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::run::settings::Settings;
use lal::text::dataset::{Split, split_text};
use lal::text::ngram::bigram_floor;
use lal::text::tales::Tales;
use lal::train::on_text::on_text;
use lal::verify::slopes::{Slope, slopes};

const HIDDEN: usize = 8;
/// The four cases: what goes in, what should come out, and that each counts for a quarter.
const XOR: [(&str, HostData); 3] = [
    ("x", HostData::F32(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])),
    ("targets", HostData::F32(&[0.0, 1.0, 1.0, 0.0])),
    ("weights", HostData::F32(&[0.25; 4])),
];

/// A forward and a backward pass over all four cases: the loss, the answers' logits, and each weight's gradient.
struct Pass {
    tape: Tape,
    loss: Var,
    dlogits: Var,
    gradients: Vec<(Var, Var)>,
}

/// x (4, 2) → tanh(x W₁ᵀ + b₁) W₂ᵀ + b₂ = logits (4, 1).
fn pass() -> Result<Pass, Box<dyn Error>> {
    let mut tape = Tape::new("step");
    let x = tape.input("x", Spec::f32([4, 2]));
    let [targets, weights] = ["targets", "weights"].map(|name| tape.input(name, Spec::f32([4, 1])));
    let linear = Linear { bias: true, std: 1.0 };
    let hidden = tape.scoped("layer1", |tape| linear.record(tape, x, HIDDEN))?;
    let active = tape.apply_one(Activation(ActivationFunction::Tanh), &[hidden])?;
    let logits = tape.scoped("layer2", |tape| linear.record(tape, active, 1))?;
    // The loss overwrites the logits by their gradient, σ(logit) − target over 4.
    let losses = tape.apply(LogisticLoss { gradient: true }, &[logits, targets, weights])?;
    let loss = tape.apply_one(Sum { accumulate: false }, &[losses[0]])?;
    let gradients = tape.backward(&[(logits, losses[1])], &HashMap::new())?;
    let gradients = tape.parameters().into_iter().map(|weight| (weight, gradients[&weight])).collect();
    Ok(Pass { tape, loss, dlogits: losses[1], gradients })
}

/// Trains on XOR and returns how many of the four cases come out right, and the loss.
pub fn learn(
    rule: OptimizerConfig,
    learning_rate: f32,
    seed: u64,
    steps: i32,
) -> Result<(usize, f32), Box<dyn Error>> {
    let Pass { mut tape, loss, dlogits, gradients } = pass()?;
    rule.record(&mut tape, &gradients)?;
    let plan = Arc::new(Plan::new(&tape, &[loss, dlogits])?);
    let mut cpu = Cpu::<f32>::default();
    let id = cpu.load(&plan, seed)?;
    for (name, data) in XOR {
        cpu.set_input(id, name, data)?;
    }
    let mut last = Vec::new();
    for t in 1..=steps {
        let correction = |beta: f32| 1.0 - beta.powi(t);
        let AdamW { beta1, beta2, .. } = rule.adamw;
        let [correction1, correction2] = [beta1, beta2].map(correction);
        cpu.run(id, 0, &Step { learning_rate, correction1, correction2, ..Step::default() })?;
        last = cpu.results(true)?.unwrap_or_default();
    }
    // Right is what has more than half the probability: σ(logit) − target within ½ of 0, over 4.
    let right = last[1].iter().filter(|gradient| gradient.abs() < 0.125).count();
    Ok((right, last[0][0]))
}

/// SGD, SGD with momentum, and AdamW, each with a learning rate that suits it.
pub fn optimisers() -> [(&'static str, OptimizerConfig, f32); 3] {
    let rule = |optimizer, beta1| OptimizerConfig {
        optimizer,
        adamw: AdamW { beta1, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, clip: 0.0 },
    };
    [
        ("SGD", rule(Optimizer::Sgd, 0.0), 1.0),
        ("momentum", rule(Optimizer::Sgd, 0.9), 0.2),
        ("AdamW", rule(Optimizer::AdamW, 0.9), 0.05),
    ]
}

/// Every weight's slope, by the tape and by moving it up and down a little.
pub fn check(seed: u64) -> Result<Vec<Slope>, Box<dyn Error>> {
    let Pass { tape, loss, gradients, .. } = pass()?;
    Ok(slopes(&tape, loss, &gradients, &XOR, seed)?)
}

/// Trains `mlp-mini` on the Tales world: its loss on new text, and the least a bigram table could have there.
pub fn predict(chars: usize, steps: u64) -> Result<(f64, f64), Box<dyn Error>> {
    let text = Tales::new().corpus(1, chars).text;
    let settings = Settings { preset: Some("mlp-mini".into()), steps: Some(steps), ..Settings::default() };
    let settings = Settings { learning_rate: Some(1e-2), warmup_steps: Some(20), ..settings };
    let mut cpu = Cpu::<f32>::default();
    let (mut trainer, tokenizer) = on_text(&mut cpu, &settings, "tales", &text)?;
    trainer.train_to(&mut cpu, steps)?;
    let floor = bigram_floor(&tokenizer.encode(split_text(&text).1)?, tokenizer.vocab_size());
    Ok((trainer.estimate(&mut cpu, Split::Val)?.loss, floor))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("Slopes of the loss of XOR, by the tape and by moving the weight:");
    let slopes = check(1)?;
    for Slope { parameter, gradient, difference, .. } in slopes.iter().filter(|slope| slope.element == 0) {
        println!("  {parameter:<14} {gradient:>13.9} {difference:>13.9}");
    }
    let apart = |slope: &Slope| (slope.gradient - slope.difference).abs();
    let most = slopes.iter().map(apart).fold(0.0, f64::max);
    println!("  all {} agree to {most:.0e}\n", slopes.len());

    println!("XOR by two layers, 20 seeds, 1000 steps:");
    for (name, rule, rate) in optimisers() {
        let runs = (0..20).map(|seed| learn(rule, rate, seed, 1000)).collect::<Result<Vec<_>, _>>()?;
        let solved = runs.iter().filter(|(right, _)| *right == 4).count();
        let worst = runs.iter().map(|(_, loss)| *loss).fold(0.0, f32::max);
        println!("  {name:<9} {solved} of 20 have all four cases right; the largest loss is {worst:.4}");
    }

    let (loss, floor) = predict(300_000, 1000)?;
    println!(
        "\nThe next character from the sixteen before it: {loss:.3} nats; no bigram table is below {floor:.3}"
    );
    Ok(())
}
