//! Conversations: read from JSON lines, and written as tokens.
//!
//! A line of a `.jsonl` is `{"messages": [{"role": "user", "content": "…"}, …]}`, or a prompt and its response:
//! `{"prompt": "…", "response": "…"}` (or `"completion"`, as in TRL; both may be lists of messages as well). Other
//! keys are left alone. A conversation may begin with a system message; then user and assistant take turns, and
//! the assistant has the last word.
//!
//! As tokens, each message is the token of its [role](Special), its content, and `<|end|>`; a system message
//! begins the user's that follows it, an empty line between them. The assistant's content and `<|end|>` are what
//! a model learns to say.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::dataset::{DatasetError, read_text};
use super::tokenizer::{Special, Tokenizer, TokenizerError};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
    #[error("{name} has no {what}: give one JSON object per line")]
    NoLines { name: String, what: &'static str },
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
}

/// The conversations of a file.
///
/// # Errors
/// When the file cannot be read, or a line is no conversation: the line is named.
pub fn read(path: &Path) -> Result<Vec<Chat>, ChatError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// The conversations of a text; `name` is what errors call it. Blank lines are passed over.
///
/// # Errors
/// As [`read`].
pub fn parse(name: &str, text: &str) -> Result<Vec<Chat>, ChatError> {
    lines(name, text, "conversation", |object, place| Ok(Chat { messages: chat(object)?, place }))
}

/// What `read` makes of each line of a `.jsonl`, its object and its place; `what` is what a line holds.
pub(super) fn lines<T>(
    name: &str,
    text: &str,
    what: &'static str,
    read: impl Fn(&Map<String, Value>, String) -> Result<T, String>,
) -> Result<Vec<T>, ChatError> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let items = lines.map(|(number, line)| {
        let place = format!("{name}:{number}");
        let object = serde_json::from_str(line).map_err(|error| format!("this is no JSON object: {error}"));
        object.and_then(|object| read(&object, place.clone())).map_err(|what| ChatError::Line { place, what })
    });
    let items = items.collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() { Err(ChatError::NoLines { name: name.to_owned(), what }) } else { Ok(items) }
}

/// The line of a `.jsonl` that holds a conversation.
pub fn line(messages: &[Message]) -> String {
    format!("{}\n", json!({"messages": messages}))
}

fn chat(object: &Map<String, Value>) -> Result<Vec<Message>, String> {
    let messages = if let Some(all) = object.get("messages") {
        messages(all, "messages")?
    } else if let Some(prompt) = object.get("prompt") {
        let (key, response) = ["response", "completion"]
            .into_iter()
            .find_map(|key| Some((key, object.get(key)?)))
            .ok_or("there is a prompt, but neither a response nor a completion")?;
        let mut all = said(prompt, Role::User, "prompt")?;
        all.extend(said(response, Role::Assistant, key)?);
        all
    } else {
        return Err("there are neither messages nor a prompt".into());
    };
    takes_turns(&messages)?;
    Ok(messages)
}

/// One message if it is a string, messages if it is a list of them.
pub(super) fn said(value: &Value, role: Role, key: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(content) => Ok(vec![Message { role, content: content.clone() }]),
        Value::Array(_) => messages(value, key),
        _ => Err(format!("{key} is neither a string nor a list of messages")),
    }
}

fn messages(value: &Value, key: &str) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or_else(|| format!("{key} is not a list of messages"))?;
    let message = |(number, value): (usize, &Value)| {
        let field =
            |field| value.get(field).ok_or_else(|| format!("message {number} of {key} has no {field}"));
        let role = Role::deserialize(field("role")?).map_err(|_| {
            format!("message {number} of {key} is by {}, not by system, user or assistant", value["role"])
        })?;
        let content = field("content")?.as_str();
        let content =
            content.ok_or_else(|| format!("the content of message {number} of {key} is no string"))?;
        Ok(Message { role, content: content.to_owned() })
    };
    (1..).zip(list).map(message).collect()
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
///
/// # Errors
/// When the tokenizer lacks the chat tokens, or a character.
pub fn encode(chat: &Chat, tokenizer: &Tokenizer) -> Result<Example, ChatError> {
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
///
/// # Errors
/// As [`encode`].
pub fn encode_prompt(messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, ChatError> {
    let chat = Chat { messages: messages.to_vec(), place: "the prompt".into() };
    let mut tokens = encode(&chat, tokenizer)?.tokens;
    tokens.push(chat_token(tokenizer, Special::Assistant)?);
    Ok(tokens)
}

fn chat_token(tokenizer: &Tokenizer, special: Special) -> Result<u32, ChatError> {
    tokenizer.special(special).ok_or_else(|| ChatError::NoChatTokens(tokenizer.name()))
}

impl Example {
    /// What precedes the assistant's last answer, and that answer without its end.
    pub fn last_exchange(&self) -> (&[u32], &[u32]) {
        let end = self.tokens.len().saturating_sub(1);
        let start = self.answer.iter().rposition(|&learned| !learned).map_or(0, |last| last + 1);
        (&self.tokens[..start], &self.tokens[start..end.max(start)])
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
mod tests {
    use super::*;
    use crate::text::tales::{Part, Tales, jsonl};

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    #[track_caller]
    fn complains(text: &str, parts: &[&str]) {
        let error = parse("chats.jsonl", text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn every_format_says_the_same() {
        let wanted = [message(Role::User, "Hi?"), message(Role::Assistant, "Ho.")];
        let lines = [
            r#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}"#,
            r#"{"prompt": "Hi?", "response": "Ho.", "known": true}"#,
            "",
            r#"{"prompt": "Hi?", "completion": "Ho."}"#,
            r#"{"prompt": [{"role": "user", "content": "Hi?"}], "completion": [{"role": "assistant", "content": "Ho."}]}"#,
        ];
        let chats = parse("a.jsonl", &lines.join("\n")).unwrap();
        assert!(chats.len() == 4 && chats.iter().all(|chat| chat.messages == wanted));
        assert_eq!(parse("b.jsonl", &line(&wanted)).unwrap()[0].messages, wanted);
        assert_eq!((chats[1].place.as_str(), chats[2].place.as_str()), ("a.jsonl:2", "a.jsonl:4"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = r#"{"prompt": "a", "response": "b"}"#;
        complains("\n \n", &["chats.jsonl", "no conversation"]);
        complains(&format!("{good}\n{{\"prompt\": "), &["chats.jsonl:2: ", "no JSON", "column"]);
        complains("[1]", &["chats.jsonl:1: ", "no JSON object"]);
        complains("{}", &["neither messages nor a prompt"]);
        complains(r#"{"prompt": "a"}"#, &["neither a response nor a completion"]);
        complains(r#"{"prompt": 3, "response": "b"}"#, &["prompt is neither a string"]);
        complains(r#"{"prompt": "a", "completion": null}"#, &["completion is neither a string"]);
        complains(r#"{"prompt": "a", "response": ""}"#, &["empty"]);
        complains(r#"{"messages": "a"}"#, &["messages is not a list"]);
        complains(r#"{"messages": []}"#, &["last word"]);
        complains(r#"{"messages": [{"role": "user", "content": "a"}]}"#, &["last word"]);
        complains(r#"{"messages": [{"content": "a"}]}"#, &["message 1 of messages has no role"]);
        complains(r#"{"messages": [{"role": "user"}]}"#, &["message 1 of messages has no content"]);
        complains(r#"{"messages": [{"role": "user", "content": 1}]}"#, &["message 1", "no string"]);
        complains(r#"{"messages": [{"role": "tool", "content": "a"}]}"#, &["\"tool\"", "assistant"]);
        complains(
            r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
            &["after 0 turns", "one of the assistant", "the user should speak"],
        );
        let twice =
            r#"{"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "a"}]}"#;
        complains(twice, &["one of the system"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("no/such.jsonl")).unwrap_err().to_string();
        assert!(error.contains("no/such.jsonl"), "{error}");
    }

    /// Characters ! a b . are 1, 3, 4, 2 behind the newline; user, assistant, end are 5, 6, 7.
    #[test]
    fn tokens_and_what_is_learned_by_hand() {
        let tokenizer = Tokenizer::from_name("char", "!ab.\n").unwrap().with_chat();
        let line = r#"{"messages": [{"role": "system", "content": "!"}, {"role": "user", "content": "ab"},
            {"role": "assistant", "content": "b."}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": "a"}]}"#
            .replace('\n', " ");
        let chats = parse("x", &line).unwrap();
        let example = encode(&chats[0], &tokenizer).unwrap();
        assert_eq!(example.tokens, [5, 1, 0, 0, 3, 4, 7, 6, 4, 2, 7, 5, 3, 7, 6, 3, 7]);
        let learned: Vec<usize> = (0..17).filter(|&at| example.answer[at]).collect();
        assert_eq!(learned, [8, 9, 10, 15, 16]);
        let prompt = encode_prompt(&chats[0].messages[..2], &tokenizer).unwrap();
        assert_eq!(prompt, example.tokens[..8]);
    }

    #[test]
    fn the_last_answer_ends_before_its_end() {
        let answer = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1].map(|learned| learned == 1).to_vec();
        let example = Example { tokens: (10..20).collect(), answer, place: String::new() };
        let (prompt, wanted) = example.last_exchange();
        assert_eq!((prompt, wanted), (&[10, 11, 12, 13, 14, 15, 16][..], &[17, 18][..]));
    }

    #[test]
    fn a_tokenizer_without_the_tokens_or_characters_is_refused() {
        let chats = parse("x.jsonl", r#"{"prompt": "a", "response": "z"}"#).unwrap();
        let tokenizer = Tokenizer::from_name("char", "ab").unwrap();
        let error = |tokenizer: &Tokenizer| encode(&chats[0], tokenizer).unwrap_err().to_string();
        assert!(error(&tokenizer).contains("char tokenizer has no chat tokens"));
        assert!(error(&tokenizer.with_chat()).contains("x.jsonl:1: the character 'z'"));
    }

    #[test]
    fn the_tales_questions_are_conversations() {
        let exchanges = Tales::new().questions(1, 20, Part::Train, 240);
        let chats = parse("sft.jsonl", &jsonl(&exchanges)).unwrap();
        for (chat, exchange) in chats.iter().zip(&exchanges) {
            let wanted =
                [message(Role::User, &exchange.prompt()), message(Role::Assistant, &exchange.answer)];
            assert_eq!(chat.messages, wanted);
        }
        assert_eq!(chats.len(), 20);
    }
}
