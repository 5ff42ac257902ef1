//! Part 3, neural networks: layers of weighted sums with a bend between them.
//!
//! Without the bend, layers upon layers would be one matrix. The *activation* is what bends: sigmoid and tanh flatten
//! on both sides, where their slopes vanish and learning stalls; ReLU, GELU and SiLU pass what is positive. Softmax
//! turns the last numbers into probabilities.
//!
//! Below, a multilayer perceptron reads three tokens and predicts a fourth: embeddings side by side, a matrix, tanh,
//! another matrix, a score for each token, softmax. Every layer's shape and values are printed; its weights are those
//! it begins with, so its guess is still one in about as many as there are tokens.
//!
//! `cargo run --release --example 03_neural_networks` (curves in runs/activations.svg)

use std::error::Error;

use lal::engine::device::HostData;
use lal::engine::device::cpu::Cpu;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::inspect::activations::{activations, svg};
use lal::inspect::forward::{Layer, layers};
use lal::models::config::{Architecture, ModelConfig};
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::ops::softmax::Softmax;

/// A model of five tokens that reads three: 4 channels a token, 6 in the hidden layer.
pub fn model() -> ModelConfig {
    ModelConfig { architecture: Architecture::Mlp, n_inner: 6, ..ModelConfig::gpt(5, 3, 1, 1, 4) }
}

/// Every layer of its forward pass over `tokens`.
pub fn run(cpu: &mut Cpu<f32>, tokens: [u32; 3]) -> Result<Vec<Layer>, Box<dyn Error>> {
    let mut tape = Tape::new("forward");
    let input = tape.input("tokens", Spec::u32([1, 3]));
    let backbone =
        backbone(&mut tape, &model(), ModelInputs { tokens: input, segments: None }, Pass::Evaluate)?;
    let logits = tape.scoped("head", |tape| backbone.last_logits(tape))?;
    tape.scoped("head", |tape| tape.apply_one(Softmax { causal: false }, &[logits]))?;
    Ok(layers(cpu, &tape, &[("tokens", HostData::U32(&tokens))])?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let x: Vec<f32> = (-4..=4).map(|i| i as f32).collect();
    println!("{:<22}{}", "x", x.iter().map(|x| format!("{x:>8}")).collect::<String>());
    for curve in activations(&x)? {
        println!("{:<22}{}", curve.name, curve.y.iter().map(|y| format!("{y:>8.3}")).collect::<String>());
        println!(
            "{:<22}{}",
            "  its slope",
            curve.slope.iter().map(|y| format!("{y:>8.3}")).collect::<String>()
        );
    }
    let fine: Vec<f32> = (-80..=80).map(|i| i as f32 / 20.0).collect();
    std::fs::create_dir_all("runs")?;
    std::fs::write("runs/activations.svg", svg(&activations(&fine)?)?)?;
    println!("curves in runs/activations.svg\n");

    println!("A forward pass over the tokens 2, 0, 3:");
    for layer in run(&mut Cpu::default(), [2, 0, 3])? {
        println!("{:<22} {:<10} {}", layer.name, layer.shape.to_string(), layer.formula);
        for row in layer.values.chunks(layer.shape.width()) {
            println!("{:22} {}", "", row.iter().map(|x| format!("{x:>8.4}")).collect::<String>());
        }
    }
    Ok(())
}
