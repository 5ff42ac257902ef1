//! Conversations: read from JSON lines, and written as tokens.
//!
//! A line of a `.jsonl` is one of
//!
//! - `{"messages": [{"role": "user", "content": "…"}, …]}`, as in OpenAI's and TRL's files;
//! - `{"prompt": "…", "response": "…"}` (or `"completion"`, as in TRL; both may be lists of messages as well);
//! - `{"instruction": "…", "input": "…", "output": "…"}`, as in Alpaca's: the input, if there is one, comes after the
//!   instruction, an empty line between them;
//! - `{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}`, as in ShareGPT's.
//!
//! A content may be a list of parts, `[{"type": "text", "text": "…"}, …]`. A `"system"` key in any of these is the
//! system message. Other keys are left alone. A conversation may begin with a system message; then user and
//! assistant take turns, and the assistant has the last word.
//!
//! Where a model was [published] with a form of conversations, that is its form. Otherwise, as tokens, each message is
//! the token of its [role](Special), its content, and `<|end|>`; a system message begins the user's that follows it, an
//! empty line between them. The assistant's content and `<|end|>` are what a model learns to say.

pub mod published;
mod rows;

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::dataset::{DatasetError, read_text};
use super::tokenizer::{Special, Tokenizer, TokenizerError};
use crate::files::BYTE_ORDER_MARK;
use published::Form;
pub use rows::{Row, rows};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    pub messages: Vec<Message>,
    /// Where it is from, as `file:line`, for errors.
    pub place: String,
}

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub tokens: Vec<u32>,
    /// To each token whether it is to be learned: the assistant's own words and their `<|end|>`.
    pub answer: Vec<bool>,
    /// As [`Chat::place`].
    pub place: String,
}

/// What can be wrong with conversations, and where.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(transparent)]
    Text(#[from] DatasetError),
    #[error("{name} has no {what}: give one JSON object per line, such as {example}")]
    NoLines { name: String, what: &'static str, example: &'static str },
    #[error("{place}: {what}")]
    Line { place: String, what: String },
    #[error("{place}: {source}")]
    Tokenizer { place: String, source: TokenizerError },
    #[error(
        "{place}: the prompt and its {answer} answer have {tokens} tokens, and a block holds {block_size}: shorten \
         them, or choose a larger --block-size"
    )]
    TooLong { place: String, answer: &'static str, tokens: usize, block_size: usize },
    #[error("this {0} tokenizer has no chat tokens: fine-tune the model for conversations first")]
    NoChatTokens(String),
    #[error("{place}: the model's chat template cannot write this: {what}")]
    Template { place: String, what: String },
}

/// The conversations of a file.
pub fn read(path: &Path) -> Result<Vec<Chat>, ChatError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// The format of a file of lines, for errors.
pub(super) struct LineFormat {
    pub what: &'static str,
    pub example: &'static str,
}

const CONVERSATION: LineFormat = LineFormat {
    what: "conversation",
    example: r#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}"#,
};

/// The conversations of a text; `name` is what errors call it. Blank lines are skipped.
pub fn parse(name: &str, text: &str) -> Result<Vec<Chat>, ChatError> {
    lines(name, text, CONVERSATION, |object, place| Ok(Chat { messages: chat(object)?, place }))
}

/// What `read` makes of each line of a `.jsonl`, its object and its place.
pub(super) fn lines<T>(
    name: &str,
    text: &str,
    LineFormat { what, example }: LineFormat,
    read: impl Fn(&Map<String, Value>, String) -> Result<T, String>,
) -> Result<Vec<T>, ChatError> {
    // Files put together may have a byte order mark at the beginning of each.
    let lines = (1..).zip(text.lines().map(|line| line.trim_start_matches(BYTE_ORDER_MARK)));
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let items = lines.map(|(number, line)| {
        let place = format!("{name}:{number}");
        let object = serde_json::from_str(line).map_err(|error| match line.trim_start().starts_with('[') {
            true => format!(
                "this is no JSON object but an array: write its objects on a line each (jq -c '.[]' does), such as \
                 {example}"
            ),
            false => format!("this is no JSON object ({error}): a line is such as {example}"),
        });
        object.and_then(|object| read(&object, place.clone())).map_err(|what| ChatError::Line { place, what })
    });
    let items = items.collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() {
        return Err(ChatError::NoLines { name: name.to_owned(), what, example });
    }
    Ok(items)
}

/// The line of a `.jsonl` that holds a conversation.
pub fn line(messages: &[Message]) -> String {
    format!("{}\n", json!({"messages": messages}))
}

fn chat(object: &Map<String, Value>) -> Result<Vec<Message>, String> {
    let (mut all, key) = asked(object)?.ok_or_else(|| {
        format!("there are neither messages nor a prompt: a line is such as {}", CONVERSATION.example)
    })?;
    let answers: &[&str] = match key {
        PROMPT => &["response", "completion"],
        INSTRUCTION => &["output"],
        _ => &[],
    };
    if !answers.is_empty() {
        let answer = answers.iter().find_map(|&key| Some((key, object.get(key)?)));
        let (key, answer) = answer.ok_or_else(|| match answers {
            [one] => format!("there is an {key}, but no {one}"),
            _ => format!("there is a {key}, but neither a {}", answers.join(" nor a ")),
        })?;
        all.extend(said(answer, Role::Assistant, key)?);
    }
    takes_turns(&all)?;
    Ok(all)
}

/// Keys of what precedes an answer.
const PROMPT: &str = "prompt";
const INSTRUCTION: &str = "instruction";

/// What is said before an answer with a key of its own, or all that is said, and the key of it; `None` where there is
/// none.
pub(super) fn asked(object: &Map<String, Value>) -> Result<Option<(Vec<Message>, &'static str)>, String> {
    let keys = ["messages", PROMPT, "conversations", INSTRUCTION];
    let Some((key, value)) = keys.into_iter().find_map(|key| Some((key, object.get(key)?))) else {
        return Ok(None);
    };
    let string = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let text = text(value).map_err(|what| format!("the {key} {what}"))?;
            Ok::<_, String>(Some(text).filter(|text| !text.is_empty()))
        }
    };
    let mut asked = match key {
        PROMPT => said(value, Role::User, key)?,
        INSTRUCTION => {
            let parts = [string(INSTRUCTION)?, string("input")?];
            let content = parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
            vec![Message { role: Role::User, content }]
        }
        _ => messages(value, key)?,
    };
    if let Some(content) = string("system")? {
        asked.insert(0, Message { role: Role::System, content });
    }
    Ok(Some((asked, key)))
}

/// One message if it is a string, messages if it is one or a list of them.
pub(super) fn said(value: &Value, role: Role, key: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(content) => Ok(vec![Message { role, content: content.clone() }]),
        Value::Array(_) => messages(value, key),
        Value::Object(_) => messages(&Value::Array(vec![value.clone()]), key),
        _ => Err(format!("{key} is neither a string nor a list of messages")),
    }
}

fn messages(value: &Value, key: &str) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or_else(|| format!("{key} is not a list of messages"))?;
    let message = |(number, value): (usize, &Value)| {
        let field = |[field, other]: [&str; 2]| {
            let found = value.get(field).or_else(|| value.get(other));
            found.ok_or_else(|| format!("message {number} of {key} has no {field}"))
        };
        let role = field(["role", "from"])?;
        let role = match role.as_str() {
            Some("system") => Role::System,
            Some("user" | "human") => Role::User,
            Some("assistant" | "gpt") => Role::Assistant,
            _ => {
                return Err(format!(
                    "message {number} of {key} is by {role}, not by system, user (or human) or assistant (or gpt)"
                ));
            }
        };
        let content = text(field(["content", "value"])?);
        let content = content.map_err(|what| format!("the content of message {number} of {key} {what}"))?;
        Ok(Message { role, content })
    };
    (1..).zip(list).map(message).collect()
}

/// A string, or parts of text one after the other.
fn text(value: &Value) -> Result<String, String> {
    let part = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err(format!("has a part of type {}, and only text is read", part["type"])),
    };
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Err("is no string".into()),
    }
}

pub(super) fn takes_turns(messages: &[Message]) -> Result<(), String> {
    let turns = match messages {
        [Message { role: Role::System, .. }, turns @ ..] => turns,
        turns => turns,
    };
    for (number, message) in turns.iter().enumerate() {
        let expected = if number % 2 == 0 { Role::User } else { Role::Assistant };
        if message.role != expected {
            return Err(format!(
                "after {number} turns comes one of the {:?}, where the {expected:?} should speak: user and \
                 assistant take turns after at most one system message",
                message.role
            )
            .to_lowercase());
        }
        if message.role == Role::Assistant && message.content.is_empty() {
            return Err("an answer of the assistant is empty".into());
        }
    }
    if turns.is_empty() || turns.len() % 2 == 1 {
        return Err("the assistant does not have the last word, so there is nothing to learn".into());
    }
    Ok(())
}

/// The tokens of a conversation.
pub fn encode(chat: &Chat, tokenizer: &Tokenizer) -> Result<Example, ChatError> {
    if let Some(form) = form(tokenizer) {
        return form.example(chat);
    }
    let mut example = Example { tokens: Vec::new(), answer: Vec::new(), place: chat.place.clone() };
    let mut system = None;
    for Message { role, content } in &chat.messages {
        let special = match role {
            Role::System => {
                system = Some(content);
                continue;
            }
            Role::User => Special::User,
            Role::Assistant => Special::Assistant,
        };
        let content = match system.take() {
            Some(system) => format!("{system}\n\n{content}"),
            None => content.clone(),
        };
        let content = tokenizer
            .encode(&content)
            .map_err(|source| ChatError::Tokenizer { place: chat.place.clone(), source })?;
        let learned = *role == Role::Assistant;
        example.push(chat_token(tokenizer, special)?, false);
        content.into_iter().for_each(|token| example.push(token, learned));
        example.push(chat_token(tokenizer, Special::End)?, learned);
    }
    Ok(example)
}

/// The tokens after which the assistant speaks: the conversation so far, and its role.
pub fn encode_prompt(messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, ChatError> {
    let place = "the prompt".to_owned();
    if let Some(form) = form(tokenizer) {
        return form.prompt(messages).map_err(|what| ChatError::Template { place, what });
    }
    let chat = Chat { messages: messages.to_vec(), place };
    let mut tokens = encode(&chat, tokenizer)?.tokens;
    tokens.push(chat_token(tokenizer, Special::Assistant)?);
    Ok(tokens)
}

/// The form that conversations were published with; `None` where it is Lal's.
fn form(tokenizer: &Tokenizer) -> Option<Form<'_>> {
    match tokenizer {
        Tokenizer::Published(published) => Form::of(published),
        _ => None,
    }
}

fn chat_token(tokenizer: &Tokenizer, special: Special) -> Result<u32, ChatError> {
    tokenizer.special(special).ok_or_else(|| ChatError::NoChatTokens(tokenizer.name()))
}

impl Example {
    /// What precedes the assistant's last answer, and that answer without its end.
    pub fn last_exchange(&self) -> (&[u32], &[u32]) {
        let Some(end) = self.end() else { return (&self.tokens, &[]) };
        let start = self.answer[..end].iter().rposition(|&learned| !learned).map_or(0, |last| last + 1);
        (&self.tokens[..start], &self.tokens[start..end])
    }

    /// Where the assistant's last answer ends: a template may write more after it.
    pub fn end(&self) -> Option<usize> {
        self.answer.iter().rposition(|&learned| learned)
    }

    /// Where the tokens to be learned stand that something precedes.
    pub fn answer_places(&self) -> impl Iterator<Item = usize> + Clone {
        (1..self.tokens.len()).filter(|&at| self.answer[at])
    }

    fn push(&mut self, token: u32, learned: bool) {
        self.tokens.push(token);
        self.answer.push(learned);
    }
}

#[cfg(test)]
mod tests;
