//! `lal completions`: scripts that complete Lal's arguments in a shell.

use clap::Command;
use clap_complete::{Shell, generate};
use serde_json::json;

use super::failure::Exit;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: Shell,
    /// The program whose arguments to complete
    #[arg(default_value = "lal", value_parser = ["lal", "train", "sample"])]
    pub program: String,
}

pub fn run(args: &Args, output: Output, mut command: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, &args.program, &mut script);
    let script = String::from_utf8(script)?;
    if output.json {
        output.named("completions", &json!({"shell": args.shell.to_string(), "script": script}))?;
        output.event(&json!({"event": "done"}))?;
    } else {
        output.piece(&script)?;
    }
    Ok(Exit::Done)
}
