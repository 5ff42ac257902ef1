//! `lal sample`: text from a trained model.

use std::time::Instant;

use anyhow::Context;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::device::DeviceArgs;
use super::failure::Exit;
use super::model::ModelArgs;
use super::output::Output;
use super::prompt::Prompt;
use super::sampling::Sampling;
use super::values::{MOST, MOST_TOKENS, whole};
use crate::sample::load::Model;
use crate::sample::strategy::{Candidate, Sampler};
use crate::sample::writer::Writer;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: Prompt,
    /// Tokens to write
    #[arg(long, visible_alias = "max-new-tokens", value_name = "N", default_value_t = 500)]
    #[arg(value_parser = whole::<usize>(0..=MOST_TOKENS))]
    max_tokens: usize,
    /// Go on after a token that ends a text; only published tokenizers have one
    #[arg(long)]
    ignore_eos: bool,
    #[command(flatten)]
    sampling: Sampling,
    /// Random seed: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 1337)]
    seed: u64,
    /// Number of texts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>(0..=MOST))]
    num_samples: usize,
    /// Show the most likely tokens at each step, with their probabilities
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Candidates that `--explain` shows.
const EXPLAINED: usize = 5;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Step {
        sample: usize,
        token: String,
        probability: f32,
        candidates: Vec<(String, f32)>,
    },
    /// The text with its prompt, and the ids of what was written.
    Sample {
        sample: usize,
        text: String,
        tokens: usize,
        ids: Vec<u32>,
    },
    Done {
        samples: usize,
        tokens: usize,
        tokens_per_second: f64,
    },
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let mut sampler = Sampler::new(args.sampling.strategy()?)?;
    let prompt = args.prompt.read()?;
    let mut opened = args.device.open(output)?;
    let mut model = args.model.load(opened.device(), output)?;
    let begins = prompt.unwrap_or_else(|| model.tokenizer.opening());
    let prompt = model.tokenizer.encode_prompt(&begins).context("the prompt cannot be read")?;

    let (mut written, mut seconds) = (0, 0.0);
    for sample in 0..args.num_samples {
        let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
        rng.set_stream(sample as u64);
        if !output.json && sample > 0 {
            output.line("\n---")?;
        }
        let Model { tokenizer, generator, .. } = &mut model;
        let mut text = begins.clone();
        if !output.json && !args.explain {
            output.piece(&begins)?;
        }
        let mut stream = tokenizer.continuing_stream();
        let mut recent = prompt.clone();
        let stops = if args.ignore_eos {
            &[]
        } else {
            tokenizer.published().map_or(&[][..], |t| t.settings().stops())
        };
        let mut writer =
            Writer::new(opened.device(), generator, &mut sampler, &mut rng, &prompt, args.max_tokens)?;
        if args.explain {
            writer = writer.by_host();
        }
        // Reading the prompt is not writing: the rate counts from here.
        let begun = Instant::now();
        for _ in 0..args.max_tokens {
            let token = writer.next(&recent)?;
            if args.explain {
                let name = |id: u32| tokenizer.decode(&[id]);
                explain(output, sample, token, writer.sampler().candidates(usize::MAX), name)?;
            }
            recent.push(token);
            written += 1;
            if stops.contains(&token) {
                break;
            }
            let piece = stream.push(token);
            if !output.json && !args.explain {
                output.piece(&piece)?;
            }
            text += &piece;
        }
        drop(writer);
        seconds += begun.elapsed().as_secs_f64();
        let rest = stream.finish();
        text += &rest;
        if output.json {
            let ids = recent[prompt.len()..].to_vec();
            output.event(&Event::Sample { sample, text, tokens: ids.len(), ids })?;
        } else if args.explain {
            output.line(text)?;
        } else {
            output.line(rest)?;
        }
    }
    let tokens_per_second = if seconds > 0.0 { written as f64 / seconds } else { 0.0 };
    if output.json {
        output.event(&Event::Done { samples: args.num_samples, tokens: written, tokens_per_second })?;
    } else {
        output.detail(format!("{written} tokens, {tokens_per_second:.0} per second"));
    }
    Ok(Exit::Done)
}

/// One step: the token taken and the likeliest ones, with the entropy of the choice in bits.
fn explain(
    output: Output,
    sample: usize,
    token: u32,
    candidates: &[Candidate],
    name: impl Fn(u32) -> String,
) -> anyhow::Result<()> {
    let probability = candidates.iter().find(|c| c.id == token).map_or(0.0, |c| c.probability);
    let top = &candidates[..candidates.len().min(EXPLAINED)];
    if output.json {
        let candidates = top.iter().map(|c| (name(c.id), c.probability)).collect();
        return output.event(&Event::Step { sample, token: name(token), probability, candidates });
    }
    let entropy: f32 =
        candidates.iter().map(|c| c.probability).filter(|p| *p > 0.0).map(|p| -p * p.log2()).sum();
    let shown: Vec<_> =
        top.iter().map(|c| format!("{:?} {:.1}%", name(c.id), 100.0 * c.probability)).collect();
    let taken = format!("{:?}", name(token));
    Ok(output.line(format!("{taken:<12} {entropy:5.2} bits   {}", shown.join("   ")))?)
}
