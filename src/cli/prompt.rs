//! `--prompt` and `--prompt-file`: what a model reads before it writes.

use std::io::{Read, stdin};
use std::path::PathBuf;

use anyhow::Context;

use super::failure::Usage;
use crate::files::read_to_string;
use crate::text::dataset::text_bytes;

#[derive(Debug, clap::Args)]
pub struct Prompt {
    /// Prompt; - reads standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with the prompt
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
}

impl Prompt {
    /// The text, without the line's end that a file or a pipe has after it; `None` where none is given.
    pub fn read(&self) -> anyhow::Result<Option<String>> {
        let mut text = match (&self.prompt, &self.prompt_file) {
            (_, Some(path)) => {
                let text = read_to_string(path, text_bytes());
                text.map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?
            }
            (Some(prompt), None) if prompt == "-" => {
                let mut text = String::new();
                let most = text_bytes();
                let read = stdin().lock().take(most.saturating_add(1)).read_to_string(&mut text);
                if read.context("cannot read the prompt from standard input")? as u64 > most {
                    return Err(Usage("the prompt is more than memory holds: give less".into()).into());
                }
                text
            }
            (Some(prompt), None) => return nonempty(prompt.clone()).map(Some),
            (None, None) => return Ok(None),
        };
        let end = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
        text.truncate(end.unwrap_or(text.len()));
        nonempty(text).map(Some)
    }
}

fn nonempty(text: String) -> anyhow::Result<String> {
    if text.is_empty() {
        return Err(Usage("the prompt is empty: give at least one character".into()).into());
    }
    Ok(text)
}
