//! `lal inspect`: attention, the distribution of the next token, embeddings, and what is in a file of tensors.

mod embeddings;
mod logits;
mod masked;
mod tensors;

use std::iter::repeat_n;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use super::device::{DeviceArgs, Opened};
use super::failure::{Exit, Usage};
use super::model::ModelArgs;
use super::output::Output;
use super::prompt::Prompt;
use super::values::{MOST, whole};
use crate::files::write_output;
use crate::inspect::attention::{Head, heads};
use crate::inspect::svg::svg;
use crate::profile::columns::COLUMNS;
use crate::sample::load::Model;
use crate::text::tokenizer::Tokenizer;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Nearest neighbours of a word, analogies, and a plot of the embeddings
    Embeddings(embeddings::Args),
    /// Attention weights of each head, as a heat map
    Attention(AttentionArgs),
    /// Distribution of the token after a prompt
    Logits(logits::Args),
    /// Predictions of a masked language model (BERT) for the hidden tokens of a text
    Masked(masked::Args),
    /// Names, types and shapes of a file's tensors, and what it says of its model
    Tensors(tensors::Args),
}

/// The model and what it reads.
#[derive(Debug, clap::Args)]
struct Reading {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, clap::Args)]
struct AttentionArgs {
    #[command(flatten)]
    reading: Reading,
    /// Only this layer, counted from 0
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..=MOST))]
    layer: Option<usize>,
    /// Only this head, counted from 0
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..=MOST))]
    head: Option<usize>,
    /// Write the heat maps as one picture
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Head { layer: usize, head: usize, entropy: f64, distance: f64, p: Vec<&'a [f64]> },
    Done { tokens: Vec<String> },
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    match &args.what {
        What::Embeddings(args) => embeddings::run(args, output),
        What::Attention(args) => attention(args, output),
        What::Logits(args) => logits::run(args, output),
        What::Masked(args) => masked::run(args, output),
        What::Tensors(args) => tensors::run(args, output),
    }
}

impl Reading {
    /// The model on its device, and the tokens that `read` makes of the prompt.
    fn open(
        &self,
        output: Output,
        read: impl FnOnce(&Tokenizer, &str) -> anyhow::Result<Vec<u32>>,
    ) -> anyhow::Result<(Opened, Model, Vec<u32>)> {
        let Some(prompt) = self.prompt.read()? else {
            return Err(
                Usage("give what the model reads: --prompt TEXT, or --prompt-file FILE".into()).into()
            );
        };
        let (opened, model) = self.load(output)?;
        let tokens = read(&model.tokenizer, &prompt)?;
        Ok((opened, model, tokens))
    }

    fn load(&self, output: Output) -> anyhow::Result<(Opened, Model)> {
        let mut opened = self.device.open(output)?;
        let model = self.model.load(opened.device(), output)?;
        Ok((opened, model))
    }
}

fn encode(tokenizer: &Tokenizer, prompt: &str) -> anyhow::Result<Vec<u32>> {
    tokenizer.encode(prompt).context("the prompt cannot be read")
}

/// Tokens as text: for a person, a space is shown as `␣`, a line's end as `⏎`, a tab as `⇥`; a program gets them as
/// they are.
fn names(tokenizer: &Tokenizer, tokens: &[u32], output: Output) -> Vec<String> {
    let text = |&id: &u32| tokenizer.decode(&[id]);
    match output.json {
        true => tokens.iter().map(text).collect(),
        false => tokens.iter().map(text).map(|text| shown(&text)).collect(),
    }
}

fn shown(token: &str) -> String {
    token.replace(' ', "␣").replace('\n', "⏎").replace('\t', "⇥")
}

fn attention(args: &AttentionArgs, output: Output) -> anyhow::Result<Exit> {
    let (mut opened, model, tokens) = args.reading.open(output, encode)?;
    model.config.attends()?;
    let wanted = |head: &Head| {
        args.layer.is_none_or(|layer| layer == head.layer) && args.head.is_none_or(|h| h == head.head)
    };
    let mut heads = heads(opened.device(), &model.config, &tokens)?;
    heads.retain(wanted);
    if heads.is_empty() {
        let (layers, n_head) = (model.config.n_layer, model.config.n_head);
        let what = format!("the model has layers 0 to {}, heads 0 to {}", layers - 1, n_head - 1);
        return Err(Usage(format!("{what}: choose --layer and --head among them")).into());
    }
    let names = names(&model.tokenizer, &tokens, output);
    if let Some(path) = &args.svg {
        let shown: Vec<_> = names.iter().map(|name| shown(name)).collect();
        write_output(path, svg(&heads, &shown).as_bytes())?;
        output.remark(format!("picture in {}", path.display()));
    }
    for head in &heads {
        if output.json {
            let p = (0..head.time).map(|t| head.row(t)).collect();
            let (entropy, distance) = (head.entropy(), head.distance());
            output.event(&Event::Head { layer: head.layer, head: head.head, entropy, distance, p })?;
        } else {
            map(output, head, &names)?;
        }
    }
    if output.json {
        output.event(&Event::Done { tokens: names })?;
    }
    Ok(Exit::Done)
}

/// A head's map: a row for each query, two signs for each key where there is room or one, by the root of p so that
/// little is still seen.
fn map(output: Output, head: &Head, names: &[String]) -> anyhow::Result<()> {
    const SHADES: [char; 6] = ['·', '░', '▒', '▓', '█', '█'];
    output.line(format!(
        "\nlayer {}, head {}: {:.2} bits, {:.1} tokens back",
        head.layer,
        head.head,
        head.entropy(),
        head.distance()
    ))?;
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let signs = if width + 1 + 2 * names.len() > COLUMNS { 1 } else { 2 };
    for (t, name) in names.iter().enumerate() {
        let shade = |p: &f64| SHADES[(p.sqrt() * 5.0).round() as usize];
        let row: String = head.row(t).iter().map(shade).flat_map(|sign| repeat_n(sign, signs)).collect();
        output.line(format!("{name:>width$} {row}"))?;
    }
    Ok(())
}
