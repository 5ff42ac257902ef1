//! `lal completions`: scripts that complete Lal's arguments in a shell.

use clap::Command;
use clap_complete::{Shell, generate};
use serde_json::json;

use super::failure::Exit;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    pub shell: Shell,
}

pub fn run(args: &Args, output: Output, mut command: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "lal", &mut script);
    let script = String::from_utf8(script)?;
    if output.json {
        output.named("completions", &json!({"shell": args.shell.to_string(), "script": script}))?;
        output.event(&json!({"event": "done"}))?;
    } else {
        output.piece(&script)?;
    }
    Ok(Exit::Done)
}
