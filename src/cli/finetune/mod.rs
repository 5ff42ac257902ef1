//! `lal finetune`: the stages behind pretraining.

mod constitution;
mod dpo;
mod policy;
pub mod rerun;
mod resume;
mod reward;
pub mod run;
mod sft;
mod tally;

use std::collections::BTreeSet;

use clap::Subcommand;

use self::run::Job;
use super::failure::{Exit, Usage};
use super::output::Output;
use crate::finetune::stage::Method;

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
    let (stage, method, given) = match args.stage {
        Stage::Sft(args) => (args.stage, Method::Sft, BTreeSet::new()),
        Stage::Reward(args) => (args.stage, Method::Reward(args.options.values), args.options.names),
        Stage::Dpo(args) => (args.stage, Method::Dpo(args.options.values), args.options.names),
        Stage::Ppo(args) => (args.stage, Method::Ppo(Box::new(args.options.values)), args.options.names),
        Stage::Constitution(args) => {
            (args.stage, Method::Constitution(args.options.values), args.options.names)
        }
    };
    run::run(&stage, method, &given, output)
}

/// # Errors
/// When a count is outside its range, and with it perhaps beyond the integers of TOML.
fn check_counts(method: &Method) -> anyhow::Result<()> {
    match method {
        Method::Ppo(options) => options.check_ranges().map_err(|error| Usage(error.to_string()).into()),
        Method::Constitution(options) => constitution::check_ranges(options),
        Method::Sft | Method::Reward(_) | Method::Dpo(_) => Ok(()),
    }
}

/// What a stage that learns in this way does.
///
/// # Errors
/// When its options make no sense.
fn job(method: &Method) -> anyhow::Result<Box<dyn Job>> {
    Ok(match method.clone() {
        Method::Sft => Box::new(sft::Sft::default()),
        Method::Reward(options) => Box::new(reward::Reward::new(options)?),
        Method::Dpo(options) => Box::new(dpo::Dpo::new(options)?),
        Method::Ppo(options) => Box::new(policy::Ppo::new(*options)),
        Method::Constitution(options) => Box::new(constitution::Constitutional::new(options)?),
    })
}
