//! `lal tokenize`: the tokens of texts and of conversations.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::{Exit, Usage};
use super::hub::located;
use super::output::Output;
use crate::files::open_within;
use crate::run::model_file::tokenizer;
use crate::text::chat::published::Form;
use crate::text::chat::{Chat, ChatError, Row, encode, encode_prompt, rows};
use crate::text::dataset::text_bytes;
use crate::text::tokenizer::{Tokenizer, TokenizerError};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("of").args(["model", "tokenizer"]).required(true))]
#[command(group = clap::ArgGroup::new("what").args(["text", "file", "chat"]).required(true).multiple(true))]
pub struct Args {
    /// Use the tokenizer of this model: a folder, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: Option<PathBuf>,
    /// A tokenizer.json, with the settings next to it; or byte or gpt2
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// A text; may be given again
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// A file that is a text; may be given again
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A file with a conversation per line, {"messages": [{"role": "user", "content": "Hi?"}]}
    ///
    /// A conversation that ends with the assistant's message is shown as it is, another up to where the assistant
    /// speaks. A line may say otherwise: "add_generation_prompt": true or false, "continue_final_message": true.
    #[arg(long, value_name = "FILE.jsonl")]
    chat: Vec<PathBuf>,
    /// Add the special tokens that the tokenizer's file puts around a text, such as [CLS] and [SEP]
    #[arg(long)]
    special: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Text { ids: &'a [u32], tokens: Vec<String> },
    Conversation { prompt: &'a str, ids: &'a [u32], tokens: Vec<String> },
    Done { texts: usize, tokens: usize },
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let tokenizer = match (&args.model, &args.tokenizer) {
        (Some(model), _) => tokenizer(&located(model, output)?)?,
        (None, Some(file)) => named(file)?,
        (None, None) => return Err(Usage("give --model or --tokenizer".into()).into()),
    };
    let mut shown = Shown { output, tokenizer, texts: 0, tokens: 0 };
    for text in &args.text {
        shown.text(text, args.special)?;
    }
    for path in &args.file {
        shown.text(&read(path)?, args.special)?;
    }
    for path in &args.chat {
        for row in rows(path)? {
            shown.conversation(&row)?;
        }
    }
    if output.json {
        output.event(&Event::Done { texts: shown.texts, tokens: shown.tokens })?;
    }
    Ok(Exit::Done)
}

/// The tokenizer of a file or folder, or one of those that need no corpus.
fn named(file: &Path) -> Result<Tokenizer, TokenizerError> {
    match file.to_str() {
        Some(name @ ("byte" | "gpt2")) if !file.exists() => Tokenizer::from_name(name, ""),
        _ if file.is_dir() => Tokenizer::load(file),
        _ => Tokenizer::from_file(file),
    }
}

/// A file as it is, to the last line's end.
fn read(path: &Path) -> anyhow::Result<String> {
    let bad = |what: String| Usage(format!("cannot read {}: {what}", path.display()));
    let most = text_bytes();
    let file = open_within(path, most).map_err(|error| bad(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    Ok(String::from_utf8(bytes).map_err(|error| bad(format!("it is no text ({error})")))?)
}

struct Shown {
    output: Output,
    tokenizer: Tokenizer,
    texts: usize,
    tokens: usize,
}

impl Shown {
    fn text(&mut self, text: &str, special: bool) -> anyhow::Result<()> {
        let mut ids = self.tokenizer.encode(text)?;
        if special && let Some(published) = self.tokenizer.published() {
            let [before, after] = published.around();
            ids = [before.as_slice(), &ids, after].concat();
        }
        self.show(&ids, None)
    }

    fn conversation(&mut self, row: &Row) -> anyhow::Result<()> {
        let wrong = |what| ChatError::Template { place: row.place.clone(), what };
        if let Tokenizer::Published(published) = &self.tokenizer
            && let Some(form) = Form::of(published)
        {
            let rendered = form.render(&row.messages, row.ending).map_err(wrong)?;
            let tokens = form.tokens(&rendered).map_err(wrong)?;
            let ids: Vec<u32> = tokens.into_iter().map(|token| token.id).collect();
            return self.show(&ids, Some(&rendered.text));
        }
        use crate::text::chat::published::Ending;
        let chat = Chat { messages: row.messages.clone(), place: row.place.clone() };
        let ids = match row.ending {
            Ending::Prompt => encode_prompt(&row.messages, &self.tokenizer)?,
            Ending::Whole => encode(&chat, &self.tokenizer)?.tokens,
            Ending::Open => {
                let mut tokens = encode(&chat, &self.tokenizer)?.tokens;
                tokens.pop();
                tokens
            }
        };
        let prompt = self.tokenizer.decode(&ids);
        self.show(&ids, Some(&prompt))
    }

    fn show(&mut self, ids: &[u32], prompt: Option<&str>) -> anyhow::Result<()> {
        self.texts += 1;
        self.tokens += ids.len();
        let spelled = |&id: &u32| self.tokenizer.spelled(id);
        if self.output.json {
            let tokens = ids.iter().map(spelled).collect();
            return self.output.event(&match prompt {
                Some(prompt) => Event::Conversation { prompt, ids, tokens },
                None => Event::Text { ids, tokens },
            });
        }
        let mut lines = String::new();
        if let Some(prompt) = prompt {
            lines += prompt.strip_suffix('\n').unwrap_or(prompt);
            lines.push('\n');
        }
        for id in ids {
            lines += &format!("{id:>7}  {:?}\n", self.tokenizer.spelled(*id));
        }
        lines += &format!("{} tokens", ids.len());
        Ok(self.output.line(lines)?)
    }
}
