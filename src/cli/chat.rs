//! `lal chat`: a conversation with a fine-tuned model.

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde::Serialize;

use super::device::DeviceArgs;
use super::failure::{Exit, Usage};
use super::interrupt::stop_on_interrupt;
use super::model::ModelArgs;
use super::output::{Output, is_lost};
use super::sampling::Sampling;
use super::values::{MOST_TOKENS, whole};
use crate::engine::device::Device;
use crate::sample::conversation::{Conversation, ConversationError};
use crate::sample::load::Model;
use crate::sample::reply::ReplyError;
use crate::sample::strategy::{Sampler, Strategy};
use crate::text::chat::{ChatError, Role, line};
use crate::text::corpus::cache_dir;

#[derive(Debug, clap::Args)]
#[command(mut_arg("temperature", |arg| arg.default_value("0.5")))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// System message, at the start of the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Maximum tokens of an answer
    #[arg(long, visible_alias = "max-new-tokens", value_name = "N", default_value_t = 200)]
    #[arg(value_parser = whole::<usize>(1..=MOST_TOKENS))]
    max_tokens: usize,
    #[command(flatten)]
    sampling: Sampling,
    /// Random seed: the same seed gives the same answers
    #[arg(long, value_name = "N", default_value_t = 1337)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

const HELP: &str = "\
/reset            start a new conversation
/save FILE        append the conversation to a .jsonl, as finetune sft reads it
/temperature [T]  show or set the sampling temperature; 0 always takes the most likely token
/help             show this list
A line that ends in \\ continues on the next. Ctrl-C stops an answer or clears a line; Ctrl-D ends the chat.";

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Answer { text: &'a str },
    Done { answers: usize },
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    // What comes after may be saved.
    let output = output.outlasting();
    let strategy = args.sampling.strategy()?;
    let sampler = Sampler::new(strategy.clone())?;
    let mut opened = args.device.open(output)?;
    let model = args.model.load(opened.device(), output)?;
    if !model.tokenizer.has_chat() {
        model.config.answers()?;
        return Err(ChatError::NoChatTokens(model.tokenizer.name()).into());
    }
    let conversation = Conversation::new(args.system, args.max_tokens, args.seed);
    let mut lines = Lines::open()?;
    let stop = stop_on_interrupt(output, false)?;
    let mut chat =
        Chat { output, device: opened.device(), model, strategy, sampler, conversation, answers: 0 };
    if lines.is_typed() {
        output.remark("Type a message, or /help for commands.");
    }
    while let Some(text) = lines.next(output)? {
        if lines.is_typed() {
            // A Ctrl-C that came too late for the last answer is not meant for the next.
            stop.store(false, Ordering::Relaxed);
        }
        let done = match text.strip_prefix('/') {
            Some(command) => chat.obey(command),
            None if text.trim().is_empty() => continue,
            // Commands are still obeyed when the answers have no reader any more, but nothing more is said.
            None if is_lost() => break,
            None => chat.answer(&text, &stop),
        };
        match done {
            Err(error) if interrupted(&error) && !lines.is_typed() => return Ok(Exit::Interrupted),
            Err(error) if interrupted(&error) => output.line("")?,
            // A person can say it again; a script would go on without what it asked for.
            Err(error) if lines.is_typed() && error.downcast_ref::<std::io::Error>().is_none() => {
                output.remark(format!("{error:#}"));
            }
            done => done?,
        }
    }
    if output.json {
        output.event(&Event::Done { answers: chat.answers })?;
    }
    Ok(Exit::Done)
}

struct Chat<'a> {
    output: Output,
    device: &'a mut dyn Device,
    model: Model,
    strategy: Strategy,
    sampler: Sampler,
    conversation: Conversation,
    answers: usize,
}

impl Chat<'_> {
    /// Says a message to the model, and shows the answer as it comes.
    fn answer(&mut self, text: &str, stop: &AtomicBool) -> anyhow::Result<()> {
        let Self { output, device, model, sampler, conversation, .. } = self;
        let mut tell = |piece: &str| {
            if stop.swap(false, Ordering::Relaxed) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            if output.json { Ok(()) } else { output.piece(piece) }
        };
        let seen = conversation.forgotten();
        let answer = conversation.say(*device, model, text, sampler, &mut tell)?;
        self.answers += 1;
        match output.json {
            true => output.event(&Event::Answer { text: &answer })?,
            false => output.line("")?,
        }
        if conversation.forgotten() > seen {
            output
                .remark("(the context is full: the model no longer sees the beginning of the conversation)");
        }
        Ok(())
    }

    fn obey(&mut self, command: &str) -> anyhow::Result<()> {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("help", "") => self.output.remark(HELP),
            ("reset", "") => {
                self.conversation.reset();
                self.output.remark("(a new conversation)");
            }
            ("temperature", "") => {
                self.output.remark(format!("the temperature is {}", self.strategy.temperature))
            }
            ("temperature", number) => {
                let temperature =
                    number.parse().map_err(|_| Usage(format!("/temperature {number}: this is no number")))?;
                let strategy = Strategy { temperature, ..self.strategy.clone() };
                self.sampler = Sampler::new(strategy.clone())?;
                self.strategy = strategy;
                self.output.remark(format!("the temperature is {temperature} from here on"));
            }
            ("save", "") => return Err(Usage("/save needs a file to write to".into()).into()),
            ("save", file) => self.save(file)?,
            _ => {
                let what = format!("there is no /{command}: /help lists what there is");
                return Err(Usage(what).into());
            }
        }
        Ok(())
    }

    fn save(&self, file: &str) -> anyhow::Result<()> {
        if self.conversation.messages().iter().all(|message| message.role == Role::System) {
            return Err(Usage("nothing was said yet that could be saved".into()).into());
        }
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(file)?;
            file.write_all(line(self.conversation.messages()).as_bytes())
        };
        // Not as an error of reading or writing the chat itself.
        write().map_err(|error: std::io::Error| Usage(format!("cannot write {file}: {error}")))?;
        self.output.remark(format!("added to {file}"));
        Ok(())
    }
}

/// Whether Ctrl-C cut an answer short.
fn interrupted(error: &anyhow::Error) -> bool {
    let cut = |cause: &ReplyError| matches!(cause, ReplyError::Tell(io) if io.kind() == std::io::ErrorKind::Interrupted);
    matches!(error.downcast_ref(), Some(ConversationError::Reply(cause)) if cut(cause))
}

/// What a line turned out to be.
enum Line {
    Text(String),
    /// Ctrl-C, as in a shell: what was typed does not count.
    Dropped,
    End,
}

/// Where messages come from.
enum Lines {
    /// A terminal, with the lines of earlier chats where there is a place to keep them.
    Typed(Box<DefaultEditor>, Option<PathBuf>),
    Piped(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Lines {
    fn open() -> anyhow::Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Piped(std::io::stdin().lock().lines()));
        }
        let mut editor = DefaultEditor::new().context("cannot read from this terminal")?;
        let history = cache_dir().map(|folder| folder.join("chat_history.txt"));
        if let Some(file) = &history {
            // The first chat has none to load.
            let _ = editor.load_history(file);
        }
        Ok(Self::Typed(Box::new(editor), history))
    }

    fn is_typed(&self) -> bool {
        matches!(self, Self::Typed(..))
    }

    /// A message, of several lines where they end in `\`; `None` at the end.
    fn next(&mut self, output: Output) -> anyhow::Result<Option<String>> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { "> " } else { "… " };
            match self.line(prompt)? {
                Line::Text(line) => text += &line,
                Line::End => return Ok(Some(text).filter(|text| !text.is_empty())),
                Line::Dropped => {
                    output.remark("(Ctrl-D ends the chat)");
                    text.clear();
                    continue;
                }
            }
            if !text.ends_with('\\') {
                return Ok(Some(text));
            }
            text.pop();
            text.push('\n');
        }
    }

    fn line(&mut self, prompt: &str) -> anyhow::Result<Line> {
        match self {
            Self::Piped(lines) => {
                let line = lines.next().transpose().context("cannot read the message")?;
                Ok(line.map_or(Line::End, Line::Text))
            }
            Self::Typed(editor, history) => match editor.readline(prompt) {
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    if let Some(file) = history {
                        file.parent().map(std::fs::create_dir_all).transpose()?;
                        editor.append_history(file)?;
                    }
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
                Err(error) => Err(error).context("cannot read the message"),
            },
        }
    }
}
