//! `lal inspect masked`: predictions of a masked language model for the hidden tokens of a text.

use anyhow::Context;
use serde::Serialize;

use super::{Reading, names, shown};
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::cli::values::{MOST_TOKENS, whole};
use crate::inspect::logits::{Expected, all_logits, expectation};
use crate::sample::strategy::Strategy;
use crate::text::tokenizer::{Special, Tokenizer};

/// The prompt has [MASK] where a token is hidden: `--prompt "The [MASK] sat on the mat."`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reading: Reading,
    /// Number of predictions for each hidden token
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<usize>(1..=MOST_TOKENS))]
    top: usize,
}

const HIDDEN: &str = "[MASK]";

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    /// What may be at a place of the prompt, most likely first.
    Masked {
        place: usize,
        candidates: Vec<Candidate>,
    },
    Done {
        text: String,
        masked: usize,
    },
}

#[derive(Serialize)]
struct Candidate {
    id: u32,
    token: String,
    probability: f32,
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let (mut opened, model, tokens) = args.reading.open(output, encode)?;
    let (config, tokenizer) = (&model.config, &model.tokenizer);
    if config.causal {
        let what = "this model reads from left to right and fills in nothing: look at what it expects next with \
                    `lal inspect logits`, or take one of the preset bert-mini";
        return Err(Usage(what.into()).into());
    }
    let mask = tokenizer.special(Special::Mask);
    let places: Vec<usize> = (0..tokens.len()).filter(|&at| Some(tokens[at]) == mask).collect();
    let logits = all_logits(opened.device(), config, &tokens)?;
    let mut filled = tokens.clone();
    for &place in &places {
        let row = &logits[place * config.vocab_size..][..config.n_tokens()];
        let expected = expectation(row, &[], Strategy::default())?.tokens;
        let likely = &expected[..expected.len().min(args.top)];
        filled[place] = likely[0].id;
        let name = |token: &Expected| names(tokenizer, &[token.id], output).remove(0);
        if output.json {
            let candidate = |token: &Expected| {
                let Expected { id, probability, .. } = *token;
                Candidate { id, token: name(token), probability }
            };
            let candidates = likely.iter().map(candidate).collect();
            output.event(&Event::Masked { place, candidates })?;
            continue;
        }
        let each = |token: &Expected| format!("{} {:.1}%", name(token), 100.0 * token.probability);
        let each: Vec<_> = likely.iter().map(each).collect();
        output.line(format!("token {place:>4}   {}", each.join("   ")))?;
    }
    let text = tokenizer.decode(&filled);
    if output.json {
        output.event(&Event::Done { text, masked: places.len() })?;
    } else {
        output.line(format!("\n{}", shown(&text).replace('␣', " ")))?;
    }
    Ok(Exit::Done)
}

/// The tokens of a prompt, the mask where it says [MASK].
fn encode(tokenizer: &Tokenizer, prompt: &str) -> anyhow::Result<Vec<u32>> {
    let Some(mask) = tokenizer.special(Special::Mask) else {
        let what = "the tokenizer of this model has no token that hides others: take a model of the preset bert-mini";
        return Err(Usage(what.into()).into());
    };
    let parts: Vec<&str> = prompt.split(HIDDEN).collect();
    if parts.len() == 1 {
        let what =
            format!("nothing is hidden in the prompt: write {HIDDEN} where the model is to fill in a token");
        return Err(Usage(what).into());
    }
    let mut tokens = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        tokens.extend((number > 0).then_some(mask));
        tokens.extend(tokenizer.encode(part).context("the prompt cannot be read")?);
    }
    Ok(tokens)
}
