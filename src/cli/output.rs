//! What every verb can be told about its output.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// Results go to standard output, progress and remarks to standard error.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// Print one JSON object per line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, no remarks
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More remarks
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl Output {
    /// A line of results.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn line(&self, text: impl AsRef<str>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.as_ref())
    }

    /// Results as they come, without a line's end.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn piece(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// A JSON object on a line of its own.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn event(&self, event: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.line(serde_json::to_string(event)?)?)
    }

    /// A remark for the person watching.
    pub fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// A remark that only `--verbose` shows.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.remark(text);
        }
    }

    /// Whether there is a person at a terminal to draw progress for.
    pub fn draws(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}
