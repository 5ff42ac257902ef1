//! `lal embed`: vectors of texts.

use std::path::PathBuf;

use serde::Serialize;

use super::device::DeviceArgs;
use super::failure::{Exit, Usage};
use super::hub::located;
use super::output::Output;
use crate::embed::Embedder;
use crate::files::read_to_string;
use crate::text::dataset::text_bytes;

/// Texts whose vectors are near each other mean much the same: all-MiniLM-L6-v2 and others are made for that. How the
/// vectors of tokens become one is as the model's folder says, or else their mean.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a Transformer, or org/name of a published one
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: PathBuf,
    /// A text
    #[arg(long, value_name = "TEXT", required_unless_present = "file")]
    text: Vec<String>,
    /// A file with a text in each line
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Numbers of a vector that a person is shown.
const SHOWN: usize = 4;

#[derive(Serialize)]
struct Line<'a> {
    embedding: &'a [f32],
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let mut texts = args.text.clone();
    for path in &args.file {
        let text = read_to_string(path, text_bytes());
        let text = text.map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?;
        texts.extend(text.lines().map(str::to_owned));
    }
    let mut opened = args.device.open(output)?;
    let mut embedder = Embedder::load(opened.device(), &located(&args.model, output)?)?;
    let mut vectors = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let embedded = embedder.embed(opened.device(), text, number + 1)?;
        if embedded.cut > 0 {
            let whole = embedded.tokens + embedded.cut;
            output.remark(format!(
                "text {} has {whole} tokens: the last {} are cut off",
                number + 1,
                embedded.cut
            ));
        }
        if output.json {
            output.event(&Line { embedding: &embedded.vector })?;
        }
        vectors.push(embedded.vector);
    }
    if output.json {
        return Ok(Exit::Done);
    }
    let nearest = |at: usize| {
        let others = (0..vectors.len()).filter(|&other| other != at);
        let near = others.map(|other| (cosine(&vectors[at], &vectors[other]), other));
        near.max_by(|a, b| a.0.total_cmp(&b.0))
    };
    for (at, vector) in vectors.iter().enumerate() {
        let first: Vec<_> = vector.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
        let line = format!("{:>4}  [{}, … {} numbers]", at + 1, first.join(", "), vector.len());
        output.line(match nearest(at) {
            Some((likeness, other)) => format!("{line}   nearest: {} ({likeness:.3})", other + 1),
            None => line,
        })?;
    }
    Ok(Exit::Done)
}

/// The cosine of the angle between two vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}
