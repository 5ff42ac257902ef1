//! `lal data`: the corpora Lal knows, and the tokens that it has prepared.

mod tokens;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::failure::{Exit, Usage};
use super::output::Output;
use super::places::DataPlaces;
use super::values::{MOST, whole};
use crate::finetune::constitution;
use crate::finetune::sft_dataset::FLAWED_TALES;
use crate::text::corpus::{self, Source, TALES};
use crate::text::dataset::text_bytes;
use crate::text::preferences;
use crate::text::tales::{Demonstration, Part, Tales, jsonl};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the corpora that `--data` knows by name, and the tokens that are prepared
    List {
        #[command(flatten)]
        places: DataPlaces,
    },
    /// Download a corpus, check it, and print its path
    Get {
        /// Name of the corpus (see `lal data list`)
        name: String,
        #[command(flatten)]
        places: DataPlaces,
    },
    /// Make the tokens of large files ahead; or write the Tales world to a folder
    ///
    /// With --data the tokens are made that train would make at its first start, and kept in the cache. With a folder,
    /// the Tales world is written there: its text, and for fine-tuning questions with answers, demonstrations with
    /// mistakes, pairs of a better and a worse answer, and a constitution.
    Prepare(Prepare),
    /// Compare prepared tokens with their hashes
    Check {
        #[command(flatten)]
        places: DataPlaces,
    },
    /// Remove prepared tokens: those that are unfinished or damaged, or those that are named
    Clean {
        /// What to remove (see `lal data list`)
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
        /// Remove all, with learned tokenizers and what is known of files
        #[arg(long, conflicts_with = "keys")]
        all: bool,
        #[command(flatten)]
        places: DataPlaces,
    },
}

/// The most questions: so many are made in a minute.
const MOST_QUESTIONS: u64 = 100_000;

/// What to make tokens of, or what to write of the Tales world.
#[derive(Debug, clap::Args)]
struct Prepare {
    #[command(flatten)]
    tokens: tokens::Prepare,
    /// Folder to write the Tales world to
    #[arg(value_name = "DIR", required_unless_present = "data")]
    folder: Option<PathBuf>,
    /// Random seed of the tales
    #[arg(long, value_name = "N", default_value_t = corpus::TALES_SEED)]
    seed: u64,
    /// Length of tales.txt in characters, at least
    #[arg(long, value_name = "N", default_value_t = corpus::TALES_CHARS, value_parser = whole::<usize>(1..=1_000_000_000))]
    chars: usize,
    /// Training questions, in sft.jsonl, demonstrations.jsonl and preferences.jsonl
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole::<usize>(0..=MOST_QUESTIONS))]
    questions: usize,
    /// Held-out questions, in sft_held_out.jsonl and preferences_held_out.jsonl
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = whole::<usize>(0..=MOST_QUESTIONS))]
    held_out: usize,
    /// Longest tale with its question and answer, in characters
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = whole::<usize>(1..=MOST))]
    longest: usize,
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::List { places } => {
            list(output)?;
            tokens::list(&places, output)?;
        }
        Verb::Check { places } => {
            if !tokens::check(&places, output)? {
                return Ok(Exit::Failed);
            }
        }
        Verb::Clean { keys, all, places } => tokens::clean(&keys, all, &places, output)?,
        Verb::Get { name, places } => {
            let corpus = places.corpus(Some(&name), output)?;
            let place = match &corpus.source {
                Source::Own(path) | Source::Found(path) | Source::Downloaded(Some(path)) => {
                    path.display().to_string()
                }
                Source::Downloaded(None) => "nowhere: this machine has no cache folder".into(),
                Source::Tales { .. } => "made on the spot".into(),
            };
            let bytes = corpus.text.len();
            if output.json {
                output.named("corpus", &json!({"name": name, "bytes": bytes, "place": place}))?;
            } else {
                output.line(format!("{name}: {bytes} bytes, {place}"))?;
            }
        }
        // The folder is written whole even if the reader of the list goes away.
        Verb::Prepare(args) => match &args.folder {
            Some(folder) => prepare(&args, folder, output.outlasting())?,
            None => args.tokens.run(output.outlasting())?,
        },
    }
    if output.json {
        output.event(&json!({"event": "done"}))?;
    }
    Ok(Exit::Done)
}

/// What needs no download: name and description.
const BUILT_IN: [(&str, &str); 2] = [
    (TALES, "a small world of Lal's own, generated offline, of known entropy"),
    (FLAWED_TALES, "for finetune sft: the same with the mistakes of imperfect demonstrations"),
];

fn list(output: Output) -> anyhow::Result<()> {
    for known in corpus::known() {
        if output.json {
            output.named("corpus", known)?;
        } else {
            output.line(format!("{:<16} {:>9} bytes  {}", known.name, known.bytes, known.licence))?;
            output.line(format!("  {}", known.url))?;
        }
    }
    for (name, description) in BUILT_IN {
        if output.json {
            output.named("corpus", &json!({"name": name, "description": description}))?;
        } else {
            output.line(format!("{name:<16} {description}"))?;
        }
    }
    Ok(())
}

fn prepare(args: &Prepare, folder: &Path, output: Output) -> anyhow::Result<()> {
    let (chars, most) = (args.chars, text_bytes());
    if chars as u64 > most {
        return Err(Usage(format!("--chars {chars} is more than memory holds: give {most} or less")).into());
    }
    let world = Tales::new();
    let questions = |count, part| {
        let exchanges = world.questions(args.seed, count, part, args.longest);
        if exchanges.len() < count {
            let longest = args.longest;
            return Err(Usage(format!(
                "hardly any tale fits {longest} characters: choose a larger --longest"
            )));
        }
        Ok(jsonl(&exchanges))
    };
    let demonstrations = || -> String {
        let reminder = constitution::Constitution::of_tales().reminder();
        let (seed, longest) = (args.seed, args.longest + reminder.len());
        let all = world.demonstrations(seed, args.questions, Part::Train, longest, 1, &reminder);
        all.iter().map(Demonstration::jsonl).collect()
    };
    let preferences = |count, part| -> String {
        world.preferences(args.seed, count, part, args.longest).iter().map(preferences::line).collect()
    };
    let files = [
        ("tales.txt", world.corpus(args.seed, args.chars).text),
        ("sft.jsonl", questions(args.questions, Part::Train)?),
        ("sft_held_out.jsonl", questions(args.held_out, Part::HeldOut)?),
        ("demonstrations.jsonl", demonstrations()),
        ("preferences.jsonl", preferences(args.questions, Part::Train)),
        ("preferences_held_out.jsonl", preferences(args.held_out, Part::HeldOut)),
        ("constitution.toml", constitution::TALES.to_owned()),
    ];
    for (name, text) in files {
        let path = corpus::keep(&text, folder, name)?;
        if output.json {
            let (bytes, lines) = (text.len(), text.lines().count());
            output.named("file", &json!({"path": path, "bytes": bytes, "lines": lines}))?;
        } else {
            output.line(format!(
                "{}: {} bytes, {} lines",
                path.display(),
                text.len(),
                text.lines().count()
            ))?;
        }
    }
    Ok(())
}
