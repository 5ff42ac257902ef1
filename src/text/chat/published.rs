//! Conversations in the form that a model was published with: rendered by its template, and as tokens.

use std::collections::HashSet;

use super::{Chat, ChatError, Example, Message, Role};
use crate::text::template::{Date, Frame, Template, is_space};
use crate::text::tokenizer::published::{Guard, Placed, Published};

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its last message.
    Whole,
    /// With the beginning of an answer.
    Prompt,
    /// Within its last message, to which more may be added.
    Open,
}

/// A conversation as its template writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// The bytes of the text that no special token may hold.
    foreign: Vec<usize>,
}

/// A tokenizer and the form of its conversations.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    pub tokenizer: &'a Published,
    pub template: &'a Template,
    /// Today, where it is not the clock's.
    pub date: Option<Date>,
}

/// Characters without a meaning, which stand for marked ones while a template is rendered.
const PRIVATE: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10fffd}';

/// Follows a message that is left open: what a template trims shows whether it trims.
const SPACE: char = ' ';

impl<'a> Form<'a> {
    /// The form of a published tokenizer; `None` if it has none.
    pub fn of(tokenizer: &'a Published) -> Option<Self> {
        Some(Self { tokenizer, template: tokenizer.template()?, date: None })
    }

    /// What the template makes of a conversation.
    ///
    /// # Errors
    /// What the template says.
    pub fn render(self, messages: &[Message], ending: Ending) -> Result<Rendered, String> {
        let guard = self.tokenizer.guard();
        let mut private = Private::new(self.template.source(), messages);
        let mut marked = |message: &Message| {
            Some(Message { role: message.role, content: private.marked(&message.content, guard)? })
        };
        let all = "the conversation has every private character of Unicode";
        let mut messages: Vec<Message> =
            messages.iter().map(&mut marked).collect::<Option<_>>().ok_or(all)?;
        let open = private.fresh().ok_or(all)?;
        if let (Ending::Open, Some(last)) = (ending, messages.last_mut()) {
            last.content.extend([open, SPACE]);
        }
        let frame = Frame {
            add_generation_prompt: ending == Ending::Prompt,
            tokens: self.tokenizer.settings().named().collect(),
            date: self.date,
        };
        let mut text = self.template.render(&messages, &frame)?;
        if ending == Ending::Open {
            let at = text.rfind(open).ok_or("the template leaves the last message out")?;
            let trims = !text[at + open.len_utf8()..].starts_with(SPACE);
            text.truncate(at);
            if trims {
                text.truncate(text.trim_end_matches(is_space).len());
            }
            let said = messages
                .last()
                .map_or("", |last| last.content.trim_end_matches([open, SPACE]).trim_matches(is_space));
            if !text.contains(said) {
                return Err("it leaves a part of the last message out, which so cannot be continued".into());
            }
        }
        Ok(private.restored(&text))
    }

    /// The tokens of a rendered conversation: special ones are those that the template wrote.
    pub fn tokens(self, rendered: &Rendered) -> Result<Vec<Placed>, String> {
        let tokens = self.tokenizer.encode_with_special(&rendered.text, &rendered.foreign);
        tokens.map_err(|error| error.to_string())
    }

    /// The tokens after which the assistant speaks.
    pub fn prompt(self, messages: &[Message]) -> Result<Vec<u32>, String> {
        let tokens = self.tokens(&self.render(messages, Ending::Prompt)?)?;
        Ok(tokens.into_iter().map(|token| token.id).collect())
    }

    /// A conversation to learn from: of each answer, what follows the beginning of a turn up to the token that ends it.
    pub fn example(self, chat: &Chat) -> Result<Example, ChatError> {
        let wrong = |what| ChatError::Template { place: chat.place.clone(), what };
        let whole = self.render(&chat.messages, Ending::Whole).map_err(wrong)?;
        let tokens = self.tokens(&whole).map_err(wrong)?;
        let answers = self.answers(&chat.messages, &whole.text, &tokens).map_err(wrong)?;
        let learned = |token: &Placed| {
            answers.iter().any(|&(start, end)| token.bytes.end > start && token.bytes.start < end)
        };
        let answer = tokens.iter().map(learned).collect();
        Ok(Example {
            tokens: tokens.into_iter().map(|token| token.id).collect(),
            answer,
            place: chat.place.clone(),
        })
    }

    /// The bytes of each answer in the text of a conversation.
    fn answers(
        self,
        messages: &[Message],
        text: &str,
        tokens: &[Placed],
    ) -> Result<Vec<(usize, usize)>, String> {
        let places: Vec<usize> =
            (0..messages.len()).filter(|&at| messages[at].role == Role::Assistant).collect();
        let starts: Vec<usize> =
            places.iter().map(|&at| self.start(messages, at, text)).collect::<Result<_, _>>()?;
        let stops = self.tokenizer.settings().stops();
        let mut answers = Vec::new();
        for (number, (&at, &start)) in places.iter().zip(&starts).enumerate() {
            let most = starts.get(number + 1).copied().unwrap_or(text.len());
            let inside = |token: &&Placed| token.bytes.start >= start && token.bytes.end <= most;
            let stop = tokens.iter().filter(inside).find(|token| stops.contains(&token.id));
            let end = match stop {
                Some(stop) => stop.bytes.end,
                // Without such a token a turn ends with its last special one, or where the next begins.
                None => {
                    let so_far = self.render(&messages[..=at], Ending::Whole)?.text;
                    let end = common(&so_far, text).min(most);
                    let within = |token: &&Placed| inside(token) && token.bytes.end <= end;
                    let special = |token: &&Placed| self.tokenizer.is_control(token.id);
                    tokens.iter().filter(within).rfind(special).map_or(end, |token| token.bytes.end)
                }
            };
            if end <= start {
                return Err(format!("it leaves the answer in message {} out", at + 1));
            }
            answers.push((start, end));
        }
        Ok(answers)
    }

    /// Where an answer begins: after what the template writes before the assistant speaks.
    fn start(self, messages: &[Message], at: usize, text: &str) -> Result<usize, String> {
        let prompt = self.render(&messages[..at], Ending::Prompt)?.text;
        if text.starts_with(&prompt) {
            return Ok(prompt.len());
        }
        // Some prompts begin the answer, with a mark that it is thought of: that is left out where it is not there.
        let before = self.render(&messages[..at], Ending::Whole)?.text;
        if text.starts_with(&before) {
            return Ok(common(&prompt, text));
        }
        Err(format!(
            "it writes what is before message {} otherwise in the whole conversation, so that it cannot be said \
             where the answer begins",
            at + 1
        ))
    }
}

/// How many bytes two texts begin alike with, whole characters.
fn common(one: &str, other: &str) -> usize {
    let alike = one.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    alike.map_or(one.len().min(other.len()), |((at, _), _)| at)
}

/// Characters that stand for others.
struct Private {
    /// What stands for what.
    stand_ins: Vec<(char, char)>,
    used: HashSet<char>,
}

impl Private {
    /// Private characters that none of the texts has.
    fn new(template: &str, messages: &[Message]) -> Self {
        let texts =
            || std::iter::once(template).chain(messages.iter().map(|message| message.content.as_str()));
        let used = texts().flat_map(str::chars).filter(|character| PRIVATE.contains(character)).collect();
        Self { stand_ins: Vec::new(), used }
    }

    /// A private character that stands for nothing yet; `None` where all are taken.
    fn fresh(&mut self) -> Option<char> {
        let fresh = PRIVATE.into_iter().find(|character| !self.used.contains(character))?;
        self.used.insert(fresh);
        Some(fresh)
    }

    fn marked(&mut self, text: &str, guard: &Guard) -> Option<String> {
        let mut places = guard.places(text).into_iter().peekable();
        let mut marked = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            let is_marked = places.next_if_eq(&at).is_some();
            marked.push(if is_marked { self.stand_in(character)? } else { character });
        }
        Some(marked)
    }

    fn stand_in(&mut self, character: char) -> Option<char> {
        if let Some((stand_in, _)) = self.stand_ins.iter().find(|(_, original)| *original == character) {
            return Some(*stand_in);
        }
        let stand_in = self.fresh()?;
        self.stand_ins.push((stand_in, character));
        Some(stand_in)
    }

    fn restored(&self, text: &str) -> Rendered {
        let mut rendered = Rendered { text: String::with_capacity(text.len()), foreign: Vec::new() };
        for character in text.chars() {
            let original = self.stand_ins.iter().find(|(stand_in, _)| *stand_in == character);
            if let Some((_, original)) = original {
                rendered.foreign.push(rendered.text.len());
                rendered.text.push(*original);
            } else {
                rendered.text.push(character);
            }
        }
        rendered
    }
}
