//! Part 5: context, and the long sentence.
//!
//! A recurrent net reads a token at a time and keeps what it has read in a state of fixed size. To name a symbol
//! that it saw k steps ago it has to carry it through k steps, and to learn to do so, the gradient has to come back
//! through as many. An RNN's gradient shrinks by a factor at every step and is soon nothing. The gates of GRU and
//! LSTM let the state, and so the gradient, pass unchanged; how far, they have to learn. Attention does not carry:
//! it looks the symbol up where it stands, and every distance is one step.
//!
//! Each model is trained on noise with one symbol somewhere in it and a question at the end. Two pictures come
//! of it: how often the question is answered right, and how much gradient reaches the symbol, both by distance.
//!
//! Read with it: `shaders/lstm_cell/forward.wgsl`, `src/ops/lstm_cell.rs`, `src/nn/recurrent.rs`, `src/train/recall.rs`.
//!
//! Run: `cargo run --release --example 05_rnn`

use std::error::Error;
use std::path::Path;

use lal::engine::device::cpu::Cpu;
use lal::inspect::curves::{Curve, Curves, Scale};
use lal::models::config::Architecture;
use lal::train::recall::{Recall, SYMBOLS, accuracy, gradients, learn, small};

/// The nets, and how many times as far as the recurrent ones each has to look.
pub const NETS: [(&str, Architecture, usize); 4] = [
    ("RNN", Architecture::Rnn, 1),
    ("GRU", Architecture::Gru, 1),
    ("LSTM", Architecture::Lstm, 1),
    ("attention", Architecture::Transformer, 4),
];

/// What was measured of one net at each of some distances.
pub struct Measured {
    pub name: &'static str,
    /// The share of answers that are right.
    pub accuracy: Vec<f64>,
    /// The gradient's norm at the symbol, before training and after it.
    pub gradients: [Vec<f64>; 2],
}

/// Trains a net on distances up to `farthest`, and measures it at `distances`.
pub fn measure(
    (name, architecture, times): (&'static str, Architecture, usize),
    farthest: usize,
    steps: u64,
    distances: &[usize],
) -> Result<Measured, Box<dyn Error>> {
    let config = small(architecture, times * farthest + 1, steps);
    let model = config.model(lal::train::recall::VOCAB_SIZE);
    let longest = distances.iter().max().map_or(1, |d| d + 1);
    let probe = Recall { time: longest, ..Recall::anywhere(&model, 64, 7) };
    let before = gradients(&mut Cpu::<f32>::default(), &model, &probe, distances)?;
    let mut device = Cpu::<f32>::default();
    let (model, _) = learn(&mut device, &config)?;
    let after = gradients(&mut device, &model, &probe, distances)?;
    let accuracy = accuracy(&mut device, &model, &probe, distances, 4)?;
    Ok(Measured { name, accuracy, gradients: [before, after] })
}

fn main() -> Result<(), Box<dyn Error>> {
    let distances = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let row = |name: &str, cells: Vec<String>| println!("{name:<22}{}", cells.concat());
    println!("one of {SYMBOLS} symbols has to be named so many steps after it was seen:\n");
    row("", distances.iter().map(|d| format!("{d:>8}")).collect());
    let mut nets = Vec::new();
    for net in NETS {
        let measured = measure(net, 64, 600, &distances)?;
        let percent = |share: &f64| format!("{:>7.1}%", 100.0 * share);
        row(&format!("{}: right", measured.name), measured.accuracy.iter().map(percent).collect());
        for (what, norms) in ["gradient untrained", "gradient trained"].iter().zip(&measured.gradients) {
            row(&format!("  {what}"), norms.iter().map(|norm| format!("{norm:>8.0e}")).collect());
        }
        nets.push(measured);
    }
    let folder = Path::new("runs/05_rnn");
    std::fs::create_dir_all(folder)?;
    for (file, curves) in [("accuracy.svg", answers(&nets, &distances)), ("gradient.svg", norms(&nets, &distances))] {
        std::fs::write(folder.join(file), curves.to_svg()?)?;
        println!("{}drawn in {}", if file == "accuracy.svg" { "\n" } else { "" }, folder.join(file).display());
    }
    Ok(())
}

fn curve(name: &str, distances: &[usize], y: &[f64]) -> Curve {
    let points = distances.iter().map(|&d| d as f64).zip(y.iter().copied()).collect();
    Curve { name: name.into(), points, reference: false }
}

fn answers(nets: &[Measured], distances: &[usize]) -> Curves {
    let mut curves: Vec<_> =
        nets.iter().map(|net| curve(net.name, distances, &net.accuracy)).collect();
    let chance = vec![1.0 / SYMBOLS as f64; distances.len()];
    curves.push(Curve { reference: true, ..curve("chance", distances, &chance) });
    Curves {
        title: "Naming a symbol seen k steps ago".into(),
        x_label: "k (steps)".into(),
        y_label: "answered right (share)".into(),
        x_scale: Scale::Doubling,
        curves,
        ..Curves::default()
    }
}

fn norms(nets: &[Measured], distances: &[usize]) -> Curves {
    let curves = nets.iter().map(|net| curve(net.name, distances, &net.gradients[0]));
    Curves {
        title: "The gradient that comes back over k steps, before training".into(),
        x_label: "k (steps)".into(),
        y_label: "norm of the loss's gradient at the symbol".into(),
        x_scale: Scale::Doubling,
        y_scale: Scale::Decades,
        curves: curves.collect(),
    }
}
