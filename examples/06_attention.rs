//! Part 6: attention, and the end of the bottleneck.
//!
//! A recurrent net squeezes all it has read into one state. Attention keeps every token and lets the one that asks
//! choose: its query is compared with every key, softmax turns the scores into weights, and the answer is the mean
//! of the values by these weights. The distance to what is looked for does not come into it.
//!
//! The recall task of part 5, at lengths where an RNN only guesses, is solved by one head, by four, and by one that
//! also sees what comes after it; learned at up to 64 steps, it is asked at up to 256. The map of each shows where it looks: the row of the question is dark where
//! the symbol stands, and the weight there is measured.
//!
//! Read with it: `shaders/attention/plain.wgsl`, `src/ops/attention.rs`, `src/nn/attention.rs`,
//! `src/inspect/attention.rs`.
//!
//! Run: `cargo run --release --example 06_attention`

use std::error::Error;
use std::path::Path;

use lal::engine::device::cpu::Cpu;
use lal::inspect::attention::{Head, heads};
use lal::inspect::svg::svg;
use lal::models::config::{Architecture, ModelConfig};
use lal::run::config::TrainConfig;
use lal::text::dataset::Purpose;
use lal::train::recall::{Learner, NOISE, QUESTION, Recall, SYMBOLS, accuracy, small};

/// Tokens of the rows that are looked into.
const SHORT: usize = 24;
/// Rows over which weights are averaged.
const ROWS: usize = 16;

/// A way to attend: how many heads, and whether a token sees only those before it.
#[derive(Clone, Copy)]
pub struct Way {
    pub name: &'static str,
    pub n_head: usize,
    pub causal: bool,
}

pub const WAYS: [Way; 3] = [
    Way { name: "one head, causal", n_head: 1, causal: true },
    Way { name: "four heads, causal", n_head: 4, causal: true },
    Way { name: "one head, both sides", n_head: 1, causal: false },
];

/// What one way of attending came to.
pub struct Measured {
    /// The share of answers that are right at each distance.
    pub accuracy: Vec<f64>,
    /// For each head the share of the question's attention that the symbol gets, averaged over rows.
    pub on_symbol: Vec<f64>,
    /// Of one row, its tokens and every head.
    pub map: (Vec<String>, Vec<Head>),
}

/// Trains a model on rows of `time` tokens, asks it at `distances`, however far, and looks where it looks.
pub fn measure(way: Way, time: usize, steps: u64, distances: &[usize]) -> Result<Measured, Box<dyn Error>> {
    let run = small(Architecture::Transformer, time, steps);
    let run =
        TrainConfig { model: ModelConfig { n_head: way.n_head, causal: way.causal, ..run.model }, ..run };
    let mut device = Cpu::<f32>::default();
    let mut learner = Learner::new(&mut device, &run)?;
    learner.learn(&mut device)?;
    let Learner { model, task, .. } = learner;
    let time = distances.iter().max().ok_or("there is no distance")? + 1;
    let accuracy = accuracy(&mut device, &model, &Recall { time, ..task.clone() }, distances, 4)?;

    let rows = Recall { batch_size: ROWS, time: SHORT, distances: 1..=SHORT - 1, ..task };
    let batch = rows.rows(Purpose::Estimating, 0, 0);
    let mut on_symbol = vec![0.0; way.n_head];
    let mut map = (Vec::new(), Vec::new());
    for row in batch.tokens.chunks(SHORT) {
        let symbol =
            row.iter().position(|&token| (token as usize) < SYMBOLS).ok_or("a row shows no symbol")?;
        let seen = heads(&mut device, &model, row)?;
        for (share, head) in on_symbol.iter_mut().zip(&seen) {
            *share += head.row(SHORT - 1)[symbol] / ROWS as f64;
        }
        // One whose symbol is far from the question shows more.
        if symbol >= SHORT / 2 && !map.0.is_empty() {
            continue;
        }
        map = (row.iter().map(|&token| name(token)).collect(), seen);
    }
    Ok(Measured { accuracy, on_symbol, map })
}

/// Symbols are capitals, noise is small letters.
fn name(token: u32) -> String {
    let letter = |first: u8, at: usize| char::from(first + at as u8).to_string();
    match token as usize {
        symbol if symbol < SYMBOLS => letter(b'A', symbol),
        noise if noise < SYMBOLS + NOISE => letter(b'p', noise - SYMBOLS),
        _ if token == QUESTION => "?".into(),
        other => other.to_string(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let distances = [1, 16, 64, 128, 256];
    let folder = Path::new("runs/06_attention");
    std::fs::create_dir_all(folder)?;
    println!("task: name one of {SYMBOLS} symbols, k steps after it was read:\n");
    println!(
        "{:<22}{}   the question's attention on the symbol, by head",
        "",
        distances.map(|distance| format!("{distance:>7}")).concat()
    );
    for way in WAYS {
        let Measured { accuracy, on_symbol, map: (tokens, heads) } = measure(way, 65, 300, &distances)?;
        let right: String = accuracy.iter().map(|share| format!("{:>6.1}%", 100.0 * share)).collect();
        let weights: String = on_symbol.iter().map(|share| format!("{:>6.1}%", 100.0 * share)).collect();
        println!("{:<22}{right}  {weights}", way.name);
        let file = folder.join(way.name.replace(", ", "_").replace(' ', "_") + ".svg");
        std::fs::write(&file, svg(&heads, &tokens))?;
        if way.n_head == 1 {
            print(&tokens, &heads[0]);
        }
        println!("{:<22}drawn in {}\n", "", file.display());
    }
    Ok(())
}

/// The question's row of a map.
fn print(tokens: &[String], head: &Head) {
    let shades = ['·', '░', '▒', '▓', '█'];
    let shade = |p: &f64| shades[(p * 4.0).round() as usize];
    println!("{:<22}{}", "  it reads", tokens.concat());
    println!("{:<22}{}", "  and attends to", head.row(SHORT - 1).iter().map(shade).collect::<String>());
}
