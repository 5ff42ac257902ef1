//! `lal finetune`: the stages behind pretraining.

mod sft;

use clap::Subcommand;

use super::failure::Exit;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    stage: Stage,
}

#[derive(Debug, Subcommand)]
enum Stage {
    /// Teach a pretrained model to answer, from conversations
    Sft(Box<sft::Args>),
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    match args.stage {
        Stage::Sft(args) => sft::run(*args, output),
    }
}
