//! The command line: one file per verb, each of them parse → call the library → print.

mod adapter;
mod bars;
mod bench;
mod chat;
mod completions;
mod convert;
mod data;
mod device;
mod devices;
mod embed;
mod eval;
mod explain;
mod failure;
mod finetune;
mod given;
mod help;
mod hub;
mod inspect;
mod interrupt;
mod launch;
mod learned;
mod model;
mod ops;
mod output;
mod places;
mod profile;
mod prompt;
mod pull;
mod recording;
mod running;
mod sample;
mod sampling;
mod subject;
mod tokenize;
mod train;
mod values;
mod verify;
mod visible;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Exit;
use help::prepared;
use output::Output;

use crate::engine::device::gpu;
use crate::text::tokenizer::catches_panics;

/// Train, fine-tune, sample and inspect small language models on any GPU
#[derive(Parser)]
#[command(name = "lal", version, propagate_version = true, args_override_self = true)]
struct Lal {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a model on text
    Train(Box<train::Args>),
    /// Fine-tune a trained model to follow instructions
    Finetune(finetune::Args),
    /// Chat with a fine-tuned model
    Chat(chat::Args),
    /// Generate text with a trained model
    Sample(sample::Args),
    /// Measure a model: its loss on a text, or its answers to questions
    Eval(eval::Args),
    /// Show where the time of a training step or of a decoded token goes, kernel by kernel
    Profile(Box<profile::Args>),
    /// Time every kernel at the shapes of real models
    Bench(bench::Args),
    /// Show what binds a kernel, line by line, without a GPU
    Explain(explain::Args),
    /// Check every kernel on this adapter against a double-precision reference
    Verify(Box<verify::Args>),
    /// Look inside a trained model: attention, next-token distribution, embeddings
    Inspect(inspect::Args),
    /// Turn texts into embedding vectors, to compare their meaning
    Embed(embed::Args),
    /// List the ops with their formulas, kernels and shaders
    Ops(ops::Args),
    /// List the adapters and their limits
    Devices,
    /// Show the tokens of texts and of conversations
    Tokenize(tokenize::Args),
    /// Download a published model, or list those in the cache
    Pull(pull::Args),
    /// Write a model as transformers or llama.cpp loads it
    Convert(convert::Args),
    /// List, download and prepare corpora
    Data(data::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Train a model on text
#[derive(Parser)]
#[command(name = "train", version, args_override_self = true)]
struct Train {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    args: train::Args,
}

/// Generate text with a trained model
#[derive(Parser)]
#[command(name = "sample", version, args_override_self = true)]
struct Sample {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    args: sample::Args,
}

/// The verbs and flags that `lal` takes.
pub fn command() -> clap::Command {
    prepared(Lal::command())
}

/// The `lal` program.
pub fn lal() -> ExitCode {
    quieten();
    let Lal { output, verb } = values::parse();
    finish(match verb {
        Verb::Train(args) => train::run(*args, output),
        Verb::Finetune(args) => finetune::run(args, output),
        Verb::Chat(args) => chat::run(args, output),
        Verb::Sample(args) => sample::run(args, output),
        Verb::Eval(args) => eval::run(args, output),
        Verb::Profile(args) => profile::run(*args, output),
        Verb::Bench(args) => bench::run(&args, output),
        Verb::Explain(args) => explain::run(&args, output),
        Verb::Verify(args) => verify::run(*args, output),
        Verb::Inspect(args) => inspect::run(&args, output),
        Verb::Embed(args) => embed::run(&args, output),
        Verb::Ops(args) => ops::run(&args, output),
        Verb::Devices => devices::run(output),
        Verb::Tokenize(args) => tokenize::run(&args, output),
        Verb::Pull(args) => pull::run(&args, output),
        Verb::Convert(args) => convert::run(&args, output),
        Verb::Data(args) => data::run(args, output),
        Verb::Completions(args) => {
            let command = match args.program.as_str() {
                "train" => Train::command(),
                "sample" => Sample::command(),
                _ => Lal::command(),
            };
            completions::run(&args, output, prepared(command))
        }
    })
}

/// The `train` program: `lal train` under its own name.
pub fn train() -> ExitCode {
    quieten();
    let Train { output, args } = values::parse();
    finish(train::run(args, output))
}

/// The `sample` program: `lal sample` under its own name.
pub fn sample() -> ExitCode {
    quieten();
    let Sample { output, args } = values::parse();
    finish(sample::run(args, output))
}

fn quieten() {
    quieten_mesa();
    quieten_caught_panics();
}

/// Without a desktop session Mesa's device-selection layer complains on standard error about a folder that only
/// displays need. Lal chooses its adapter itself, so the layer is not missed.
fn quieten_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing that the programs do, when no other thread can read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// wgpu panics when a device is lost, and a tokenizer's library may at a damaged file. That ends as an error which says
/// more, so the panic need not be printed.
fn quieten_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gpu::catches_panics() && !catches_panics() {
            usual(panic);
        }
    }));
}

fn finish(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(Exit::Done) if output::has_failed() => Exit::Failed.into(),
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Lal::command().debug_assert();
        Train::command().debug_assert();
        Sample::command().debug_assert();
    }
}
