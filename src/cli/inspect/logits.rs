//! `lal inspect logits`: the distribution of the token after a prompt.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Reading, encode, names};
use crate::cli::failure::Exit;
use crate::cli::output::Output;
use crate::cli::sampling::Sampling;
use crate::cli::values::{MOST_TOKENS, whole};
use crate::inspect::logits::{Expectation, Expected, all_logits, expectation};
use crate::interop::container::ContainerError;
use crate::interop::dtype::Dtype;
use crate::interop::writer::{NewTensor, safetensors};

#[derive(Debug, clap::Args)]
#[command(mut_arg("temperature", |arg| arg.default_value("1")))]
pub struct Args {
    #[command(flatten)]
    reading: Reading,
    /// Token ids to read, instead of a prompt
    #[arg(long, value_name = "ID,…", value_delimiter = ',', conflicts_with_all = ["prompt", "prompt_file"])]
    tokens: Vec<u32>,
    /// Write the logits after every token: one tensor `logits` (time, vocabulary) of 32-bit numbers
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
    /// Number of tokens to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<usize>(1..=MOST_TOKENS))]
    top: usize,
    #[command(flatten)]
    sampling: Sampling,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Token { id: u32, token: String, logit: f32, probability: f32, drawn: f32 },
    Done { tokens: Vec<String>, entropy: f32, drawn_entropy: f32, kept: usize },
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    // The file may come after what is printed.
    let output = if args.out.is_some() { output.outlasting() } else { output };
    let strategy = args.sampling.strategy()?;
    let (mut opened, mut model, tokens) = if args.tokens.is_empty() {
        args.reading.open(output, encode)?
    } else {
        let (opened, model) = args.reading.load(output)?;
        (opened, model, args.tokens.clone())
    };
    let logits = match &args.out {
        Some(path) => {
            let all = all_logits(opened.device(), &model.config, &tokens)?;
            write(path, &all, tokens.len())?;
            output.remark(format!("logits in {}", path.display()));
            all[all.len() - model.config.vocab_size..][..model.config.n_tokens()].to_vec()
        }
        None => model.generator.start(opened.device(), &tokens)?,
    };
    let Expectation { tokens: expected, entropy, drawn_entropy, kept } =
        expectation(&logits, &tokens, strategy)?;
    let shown = &expected[..expected.len().min(args.top)];
    let name = |token: &Expected| names(&model.tokenizer, &[token.id], output).remove(0);
    if output.json {
        for token in shown {
            let Expected { id, logit, probability, drawn } = *token;
            output.event(&Event::Token { id, token: name(token), logit, probability, drawn })?;
        }
        let tokens = names(&model.tokenizer, &tokens, output);
        output.event(&Event::Done { tokens, entropy, drawn_entropy, kept })?;
        return Ok(Exit::Done);
    }
    let width = shown.iter().map(|token| name(token).chars().count()).max().unwrap_or(0).max(5);
    output.line(format!("{:<width$}    logit    model    drawn", "token"))?;
    for token in shown {
        let bar = "━".repeat((30.0 * token.drawn).round() as usize);
        let drawn = if token.drawn > 0.0 { format!("{:.2}%", 100.0 * token.drawn) } else { "-".into() };
        let line = format!(
            "{:<width$} {:>8.3} {:>7.2}% {drawn:>8}  {bar}",
            name(token),
            token.logit,
            100.0 * token.probability
        );
        output.line(line.trim_end())?;
    }
    let rest: f32 = expected[shown.len()..].iter().map(|token| token.probability).sum();
    if expected.len() > shown.len() {
        output.line(format!("and {} more, {:.2}% together", expected.len() - shown.len(), 100.0 * rest))?;
    }
    output.line(format!(
        "\nthe model: {entropy:.2} bits, as uncertain as {:.1} equal choices\n\
         drawn from {kept} tokens: {drawn_entropy:.2} bits",
        entropy.exp2()
    ))?;
    Ok(Exit::Done)
}

/// Logits of `time` tokens as a safetensors file.
fn write(path: &Path, logits: &[f32], time: usize) -> Result<(), ContainerError> {
    let shape = vec![time, logits.len() / time];
    let tensor = NewTensor { name: "logits".into(), shape, dtype: Dtype::F32 };
    let file = safetensors(path, &[tensor], ("format", "pt"), |_, sink| {
        sink.elements(logits);
        Ok::<_, ContainerError>(())
    })?;
    Ok(file.commit()?)
}
