//! `lal eval`: the loss of a model on a text, and how it answers questions.

mod asking;
mod data;
mod event;

use std::path::{Path, PathBuf};

use self::asking::Asking;
use self::data::{Data, Own};
use self::event::Event;
use super::device::{DeviceArgs, Opened};
use super::failure::{Exit, Usage, of_a_model};
use super::hub::located_if;
use super::learned;
use super::model::ModelArgs;
use super::output::Output;
use super::places::DataPlaces;
use super::values::{MOST, MOST_TOKENS, whole};
use crate::finetune::examples::TALES_HELD_OUT;
use crate::finetune::sft_dataset::{FLAWED_TALES, SftDataset};
use crate::models::config::Architecture;
use crate::sample::load::Model;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::corpus::{DEFAULT, TALES};
use crate::text::documents::Reading;
use crate::text::pack::{TooLong, pack};
use crate::train::evaluate::{Loss, Windows, floor, loss, text_windows};

/// `--data` is a text, by path or name; the loss is that of its last tenth, the validation part. For a fine-tuned model
/// it may be a .jsonl of conversations, or `tales` for held-out questions about the built-in world.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text or conversations, by name or path [default: the data of the run, or else tinyshakespeare]
    #[arg(long, env = "LAL_DATA", value_name = "NAME|PATH")]
    data: Option<String>,
    /// Folder of another fine-tuned model: report which of the two answers better
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Folder of a reward model that scores the answers [default: the program that scores answers about tales]
    #[arg(long, value_name = "DIR", requires = "against")]
    reward: Option<PathBuf>,
    /// Part of the text to measure
    #[arg(long, value_enum, default_value_t = Part::Val)]
    split: Part,
    /// Which tokens count in the loss and the perplexity
    #[arg(long, value_enum, default_value_t = Count::Blocks)]
    windows: Count,
    /// Tokens between the windows of a text; fewer give each token more context [default: the block size]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_TOKENS))]
    stride: Option<usize>,
    /// Number of questions to ask
    #[arg(long, value_name = "N", default_value_t = TALES_HELD_OUT, value_parser = whole::<usize>(1..=MOST))]
    questions: usize,
    /// Sampling temperature of answers; 0 always takes the most likely token
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    temperature: f32,
    /// Random seed: the same seed gives the same answers
    #[arg(long, value_name = "N", default_value_t = 1337)]
    seed: u64,
    #[command(flatten)]
    places: DataPlaces,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Parts of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The last tenth
    Val,
    All,
}

/// Which tokens of a text count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Count {
    /// Every token but the first
    Blocks,
    /// As the guide of transformers on perplexity counts them, with its max_length as --context
    Sliding,
    /// As llama-perplexity of llama.cpp counts them, with its -c as --context
    Halves,
}

pub fn run(mut args: Args, output: Output) -> anyhow::Result<Exit> {
    args.against = located_if(args.against, output)?;
    args.reward = located_if(args.reward, output)?;
    let strategy = Strategy { temperature: args.temperature, ..Strategy::default() };
    strategy.check()?;
    let mut opened = args.device.open(output)?;
    let mut model = args.model.load(opened.device(), output)?;
    model.config.predicts_next()?;
    let chats = model.tokenizer.has_chat();
    let own = Own::of(&args.model.located(output)?)?;
    let data = args.data.as_deref().or(own.data.as_deref()).unwrap_or(DEFAULT);
    let own = args.data.is_none().then_some(&own);
    let has_answers = match data {
        TALES | FLAWED_TALES => chats,
        // A run that was not tuned may have learned from documents in lines.
        path => {
            let lines = Path::new(path).extension().is_some_and(|extension| extension == "jsonl");
            lines && own.is_none_or(|own| own.tuned)
        }
    };
    let val_loss = if has_answers {
        let data = Data { name: data, questions: args.questions, own };
        let dataset = data.dataset(&model.config, &model.tokenizer)?;
        let Args { device, seed, .. } = &args;
        let ask = Asking { data, device, strategy: &strategy, seed: *seed, reward: args.reward.as_deref() };
        if let Some(other) = &args.against {
            ask.check(other, &model, &dataset)?;
        }
        let val_loss = answer_loss(&mut opened, &model, &dataset, output)?;
        let answered = ask.one(&mut opened, &mut model, dataset, output)?;
        if let Some(other) = &args.against {
            ask.against(other, &answered, output)?;
        }
        val_loss
    } else if args.against.is_some() {
        let what = "--against compares how two fine-tuned models answer: give --data tales";
        return Err(Usage(what.into()).into());
    } else {
        text_loss(&mut opened, &model, &args, data, own, output)?
    };
    if output.json {
        output.event(&Event::Done { val_loss })?;
    }
    Ok(Exit::Done)
}

fn text_loss(
    opened: &mut Opened,
    model: &Model,
    args: &Args,
    data: &str,
    own: Option<&Own>,
    output: Output,
) -> anyhow::Result<f64> {
    let mut origin = own.map(|own| own.origin.clone()).unwrap_or_default();
    let data = match own {
        Some(own) => args.places.of_run(&mut origin, own.data.as_deref(), None, &own.reading, output)?.0,
        None => args.places.locate(Some(data), &Reading::default(), output)?,
    };
    let val = match own.and_then(|own| Some((own, own.val_data.as_ref()?))) {
        Some((own, was)) => Some(args.places.val_of_run(&mut origin, was, None, &own.reading, output)?.0),
        None => None,
    };
    let corpus = data.corpus().filter(|_| val.is_none());
    if corpus.is_none() && args.split == Part::All {
        let what =
            format!("--split all is for a single short text, and {} is not: leave it out", data.name());
        return Err(Usage(what).into());
    }
    if args.windows != Count::Blocks && model.config.architecture == Architecture::Mlp {
        let what = "a model of fixed windows predicts one token after each: leave out --windows";
        return Err(Usage(what.into()).into());
    }
    if args.windows == Count::Halves && args.stride.is_some() {
        return Err(Usage("--windows halves has no stride: leave out --stride".into()).into());
    }
    let tokenizer = &model.tokenizer;
    let dataset = learned::dataset(&data, val.as_ref(), tokenizer, &args.places, output)?;
    let block_size = model.config.block_size;
    if args.split == Part::Val {
        dataset.check(block_size).map_err(of_a_model)?;
    }
    let stride = args.stride.unwrap_or(block_size);
    if !(1..=block_size).contains(&stride) {
        let what = format!("--stride {stride} is outside its range: 1 to {block_size}, the model's block");
        return Err(Usage(what).into());
    }
    let (mut tokens, part_bytes) = match corpus.filter(|_| args.split == Part::All) {
        Some(corpus) => (tokenizer.encode(&corpus.text)?, corpus.text.len()),
        None => (dataset.val.all()?.into_owned(), dataset.val_bytes),
    };
    // Others count from the token that begins a text, where a tokenizer has one.
    let begin = tokenizer.published().map_or(Vec::new(), |published| published.around()[0].clone());
    if args.windows != Count::Blocks {
        tokens.splice(..0, begin.iter().copied());
    }
    let windows = match args.windows {
        Count::Blocks => Windows::Blocks { stride },
        Count::Sliding => Windows::Sliding { stride },
        Count::Halves => Windows::Halves { begin: begin.first().copied() },
    };
    let least = if args.windows == Count::Blocks { block_size + 1 } else { block_size };
    if tokens.len() < least {
        let what = format!(
            "{} has {} tokens, and the model reads {least} at a time: give a longer text, or a smaller --context",
            data.name(),
            tokens.len()
        );
        return Err(Usage(what).into());
    }
    let windows = text_windows(&tokens, &model.config, windows);
    let loss = loss(opened.device(), &model.config, &windows, false)?;
    let bytes = part_bytes as f64 * loss.tokens as f64 / tokens.len() as f64;
    let corpus = corpus.filter(|_| args.split == Part::Val);
    let floor = corpus.and_then(|corpus| floor(corpus, &dataset, &model.config));
    tell_loss(data.name(), loss, bytes, floor, output)
}

/// Of the answers alone.
fn answer_loss(
    opened: &mut Opened,
    model: &Model,
    dataset: &SftDataset,
    output: Output,
) -> anyhow::Result<f64> {
    let windows = pack(&dataset.held_out.examples, model.config.block_size, 0).map_err(
        |TooLong { place, tokens, block_size }| {
            let holds = block_size + 1;
            Usage(format!(
                "{place}: this conversation has {tokens} tokens, and the model reads {holds}: shorten it"
            ))
        },
    )?;
    let loss = loss(opened.device(), &model.config, &windows, true)?;
    let answer = |example: &Example| -> Vec<u32> {
        let answer = example.tokens.iter().zip(&example.answer).filter(|(_, learned)| **learned);
        answer.map(|(token, _)| *token).collect()
    };
    // What ends an answer is a byte as well.
    let end = model.tokenizer.answer_end();
    let length = |token: u32| if Some(token) == end { 1 } else { model.tokenizer.token_bytes(token).len() };
    let bytes: usize = dataset.held_out.examples.iter().flat_map(answer).map(length).sum();
    tell_loss(&dataset.name, loss, bytes as f64, None, output)
}

fn tell_loss(data: &str, loss: Loss, bytes: f64, floor: Option<f64>, output: Output) -> anyhow::Result<f64> {
    let (val_loss, perplexity) = (loss.mean(), loss.perplexity());
    let bits_per_byte = loss.nats / bytes / std::f64::consts::LN_2;
    if output.json {
        output.event(&Event::Loss {
            data,
            tokens: loss.tokens,
            val_loss,
            perplexity,
            bits_per_byte,
            floor,
        })?;
        return Ok(val_loss);
    }
    output.line(format!("{data}, {} tokens", loss.tokens))?;
    let above =
        |floor: f64| format!("   {:+.1}% above the floor of {floor:.4}", 100.0 * (val_loss / floor - 1.0));
    output.line(format!("val loss        {val_loss:>8.4}{}", floor.map_or(String::new(), above)))?;
    output.line(format!("perplexity      {perplexity:>8.3}"))?;
    output.line(format!("bits per byte   {bits_per_byte:>8.4}"))?;
    Ok(val_loss)
}
