//! Part 5: context, and the long sentence.
//!
//! A recurrent net reads a token at a time and keeps what it has read in a state of fixed size. To name a symbol
//! that it saw k steps ago it has to carry it through k steps, and to learn to do so, the gradient has to come back
//! through as many. An RNN's gradient shrinks by a factor at every step and is soon nothing. The gates of GRU and
//! LSTM let the state, and so the gradient, pass unchanged; how far, they have to learn. Attention does not carry:
//! it looks the symbol up where it stands, and every distance is one step.
//!
//! Each model is trained on noise with one symbol in it, at most 64 steps back, and a question at the end. Two
//! pictures come of it: how often the question is answered right, and how much gradient reaches the symbol, by
//! distance, up to four times as far.
//!
//! Read with it: `shaders/lstm_cell/forward.wgsl`, `src/ops/lstm_cell.rs`, `src/nn/recurrent.rs`,
//! `src/train/recall.rs`.
//!
//! Run: `cargo run --release --example 05_rnn`

use std::error::Error;
use std::path::Path;

use lal::engine::device::cpu::Cpu;
use lal::inspect::curves::{Curve, Curves, Scale};
use lal::models::config::Architecture;
use lal::train::recall::{Learner, Recall, SYMBOLS, accuracy, gradients, small};

pub const NETS: [(&str, Architecture); 4] = [
    ("RNN", Architecture::Rnn),
    ("GRU", Architecture::Gru),
    ("LSTM", Architecture::Lstm),
    ("attention", Architecture::Transformer),
];

/// The farthest that a symbol stands in training.
const FARTHEST: usize = 64;

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
    (name, architecture): (&'static str, Architecture),
    farthest: usize,
    steps: u64,
    distances: &[usize],
) -> Result<Measured, Box<dyn Error>> {
    let mut device = Cpu::<f32>::default();
    let mut net = Learner::new(&mut device, &small(architecture, farthest + 1, steps))?;
    // Rows have the length of the training rows, or more where a question needs it.
    let probe = |&distance: &usize| {
        let task = Recall { time: distance.max(farthest) + 1, batch_size: 64, ..net.task.clone() };
        (task, [distance])
    };
    let probes: Vec<_> = distances.iter().map(probe).collect();
    let mut measured = Measured { name, accuracy: Vec::new(), gradients: Default::default() };
    for (task, distance) in &probes {
        measured.gradients[0].extend(gradients(&mut device, &net.model, task, distance)?);
    }
    net.learn(&mut device)?;
    for (task, distance) in &probes {
        measured.gradients[1].extend(gradients(&mut device, &net.model, task, distance)?);
        measured.accuracy.extend(accuracy(&mut device, &net.model, task, distance, 4)?);
    }
    Ok(measured)
}

fn main() -> Result<(), Box<dyn Error>> {
    let distances = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let row = |name: &str, cells: Vec<String>| println!("{name:<22}{}", cells.concat());
    println!("task: name one of {SYMBOLS} symbols, k steps after it was read:\n");
    row("", distances.iter().map(|d| format!("{d:>8}")).collect());
    let mut nets = Vec::new();
    for net in NETS {
        let measured = measure(net, FARTHEST, 500, &distances)?;
        let percent = |share: &f64| format!("{:>7.1}%", 100.0 * share);
        row(&format!("{}: right", measured.name), measured.accuracy.iter().map(percent).collect());
        for (what, norms) in ["gradient untrained", "gradient trained"].iter().zip(&measured.gradients) {
            row(&format!("  {what}"), norms.iter().map(|norm| format!("{norm:>8.0e}")).collect());
        }
        nets.push(measured);
    }
    let folder = Path::new("runs/05_rnn");
    std::fs::create_dir_all(folder)?;
    for (file, curves) in
        [("accuracy.svg", answers(&nets, &distances)), ("gradient.svg", norms(&nets, &distances))]
    {
        std::fs::write(folder.join(file), curves.to_svg()?)?;
        println!(
            "{}drawn in {}",
            if file == "accuracy.svg" { "\n" } else { "" },
            folder.join(file).display()
        );
    }
    Ok(())
}

fn curve(name: &str, distances: &[usize], y: &[f64]) -> Curve {
    let points = distances.iter().map(|&d| d as f64).zip(y.iter().copied()).collect();
    Curve { name: name.into(), points, reference: false }
}

fn answers(nets: &[Measured], distances: &[usize]) -> Curves {
    let mut curves: Vec<_> = nets.iter().map(|net| curve(net.name, distances, &net.accuracy)).collect();
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
    // Farther ones stand in longer rows, in which more tokens share a gradient.
    let alike = distances.iter().filter(|&&distance| distance <= FARTHEST).count();
    let curves = nets.iter().map(|net| curve(net.name, &distances[..alike], &net.gradients[0]));
    Curves {
        title: "The gradient that comes back over k steps, before training".into(),
        x_label: "k (steps)".into(),
        y_label: "norm of the loss's gradient at the symbol".into(),
        x_scale: Scale::Doubling,
        y_scale: Scale::Decades,
        curves: curves.collect(),
    }
}
