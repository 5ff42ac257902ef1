//! `lal completions`: scripts that complete Lal's arguments in a shell.

use std::io::Write;

use clap::Command;
use clap_complete::{Shell, generate};

use super::failure::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    pub shell: Shell,
}

pub fn run(args: &Args, mut command: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "lal", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}
