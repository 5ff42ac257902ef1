//! Conversations to be rendered as prompts: the last message may be of any role.

use std::path::Path;

use super::published::Ending;
use super::{CONVERSATION, ChatError, LineFormat, Message, Role, asked, lines};
use crate::text::dataset::read_text;

/// A conversation to be shown as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub messages: Vec<Message>,
    pub ending: Ending,
    /// Where it is from, as `file:line`, for errors.
    pub place: String,
}

/// The conversations of a file. After a message of the assistant they are whole, and after another the assistant
/// speaks; `add_generation_prompt` and `continue_final_message` in a line say otherwise, as for `transformers`.
pub fn rows(path: &Path) -> Result<Vec<Row>, ChatError> {
    let form = LineFormat { ..CONVERSATION };
    lines(&path.display().to_string(), &read_text(path)?, form, |object, place| {
        let (messages, _) = asked(object)?.ok_or_else(|| {
            format!("there are neither messages nor a prompt: a line is such as {}", CONVERSATION.example)
        })?;
        let flag = |key: &str| match object.get(key) {
            None => Ok(None),
            Some(value) => {
                value.as_bool().map(Some).ok_or_else(|| format!("{key} is {value}, neither true nor false"))
            }
        };
        let answered = messages.last().is_none_or(|last| last.role == Role::Assistant);
        let ending = match (flag("continue_final_message")?, flag("add_generation_prompt")?) {
            (Some(true), Some(true)) => {
                return Err("continue_final_message and add_generation_prompt are both true".into());
            }
            (Some(true), _) => Ending::Open,
            (_, Some(true)) => Ending::Prompt,
            (_, None) if !answered => Ending::Prompt,
            _ => Ending::Whole,
        };
        Ok(Row { messages, ending, place })
    })
}
