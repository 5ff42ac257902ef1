//! `lal finetune`: the stages behind pretraining.

mod constitution;
mod dpo;
mod policy;
mod reward;
mod run;
mod sft;
mod tally;

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
    /// Teach a model to tell the better of two answers by a score
    Reward(Box<reward::Args>),
    /// Teach a model to prefer the better of two answers
    Dpo(Box<dpo::Args>),
    /// Teach a model by what its own answers are worth: PPO or GRPO
    Ppo(Box<policy::Args>),
    /// Teach a model by principles that its own answers are judged and revised by
    Constitution(Box<constitution::Args>),
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    match args.stage {
        Stage::Sft(args) => sft::run(*args, output),
        Stage::Reward(args) => reward::run(*args, output),
        Stage::Dpo(args) => dpo::run(*args, output),
        Stage::Ppo(args) => policy::run(*args, output),
        Stage::Constitution(args) => constitution::run(*args, output),
    }
}
