//! Preferences: two answers to one prompt, and which of them is the better.
//!
//! A line of a `.jsonl` is `{"prompt": "…", "chosen": "…", "rejected": "…"}`, as in TRL. Each may be a list of
//! messages instead, and then the prompt may be left out, or be only what the user said last: it is what both lists
//! begin with. What precedes the answers may be in any form that a [conversation](super::chat) has; prompt and answer
//! together are one. Other keys are left alone.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::chat::{
    Chat, ChatError, Example, LineFormat, Message, Role, asked, encode, lines, said, takes_turns,
};
use super::dataset::read_text;
use super::tokenizer::Tokenizer;

/// A prompt and two answers of the assistant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A conversation in which it is the assistant's turn.
    pub prompt: Vec<Message>,
    pub chosen: String,
    pub rejected: String,
    /// Where it is from, as `file:line`, for errors.
    pub place: String,
}

/// A pair as tokens: the prompt with either answer, of which [`Example::answer`] marks only the words compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    pub chosen: Example,
    pub rejected: Example,
}

/// The pairs of a file.
pub fn read(path: &Path) -> Result<Vec<Pair>, ChatError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

const PREFERENCE: LineFormat =
    LineFormat { what: "preference", example: r#"{"prompt": "Hi?", "chosen": "Ho.", "rejected": "Hm."}"# };

/// The pairs of a text; `name` is what errors call it. Blank lines are skipped.
pub fn parse(name: &str, text: &str) -> Result<Vec<Pair>, ChatError> {
    lines(name, text, PREFERENCE, pair)
}

/// The line of a `.jsonl` that holds a pair.
pub fn line(pair: &Pair) -> String {
    let answer = |content: &String| [Message { role: Role::Assistant, content: content.clone() }];
    let (chosen, rejected) = (answer(&pair.chosen), answer(&pair.rejected));
    format!("{}\n", json!({"prompt": pair.prompt, "chosen": chosen, "rejected": rejected}))
}

fn pair(object: &Map<String, Value>, place: String) -> Result<Pair, String> {
    let field = |key| {
        let example = PREFERENCE.example;
        object
            .get(key)
            .ok_or_else(|| format!("there is no {key} answer, under \"{key}\": a line is such as {example}"))
    };
    let (chosen, rejected) = (field("chosen")?, field("rejected")?);
    let mut chosen = said(chosen, Role::Assistant, "chosen")?;
    let mut rejected = said(rejected, Role::Assistant, "rejected")?;
    if chosen == rejected {
        return Err("chosen and rejected are the same: one of two answers has to be the better".into());
    }
    let mut prompt = asked(object)?.map(|(prompt, _)| prompt);
    // Both may repeat the prompt, as in UltraFeedback's files.
    if prompt.as_ref().is_none_or(|_| chosen.first().is_some_and(|first| first.role != Role::Assistant)) {
        let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        rejected.drain(..shared);
        let repeated: Vec<Message> = chosen.drain(..shared).collect();
        if prompt.is_some_and(|prompt| !repeated.ends_with(&prompt)) {
            return Err("chosen and rejected do not begin with the prompt".into());
        }
        prompt = Some(repeated);
    }
    let prompt = prompt
        .filter(|prompt| !prompt.is_empty())
        .ok_or("there is no prompt, and chosen and rejected do not begin with the same messages")?;
    Ok(Pair {
        chosen: answer(&prompt, chosen, "chosen")?,
        rejected: answer(&prompt, rejected, "rejected")?,
        prompt,
        place,
    })
}

/// What the assistant says to `prompt`: one message, when it is its turn.
fn answer(prompt: &[Message], mut said: Vec<Message>, key: &str) -> Result<String, String> {
    let all: Vec<Message> = prompt.iter().chain(&said).cloned().collect();
    takes_turns(&all).map_err(|what| format!("prompt and {key}: {what}"))?;
    match said.pop() {
        Some(message) if said.is_empty() => Ok(message.content),
        _ => Err(format!("{key} is not one assistant message after the prompt")),
    }
}

/// The tokens of a pair, for a model that reads `block_size` of them.
///
/// # Errors
/// When the prompt with an answer is longer, or the tokenizer lacks the chat tokens or a character.
pub fn encode_pair(pair: &Pair, tokenizer: &Tokenizer, block_size: usize) -> Result<EncodedPair, ChatError> {
    let with = |content: &String, answer: &'static str| {
        let place = pair.place.clone();
        let last = Message { role: Role::Assistant, content: content.clone() };
        let messages = pair.prompt.iter().cloned().chain([last]).collect();
        let mut example = encode(&Chat { messages, place: place.clone() }, tokenizer)?;
        let (tokens, start) = (example.tokens.len(), example.last_exchange().0.len());
        if tokens > block_size {
            return Err(ChatError::TooLong { place, answer, tokens, block_size });
        }
        example.answer[..start].fill(false);
        Ok(example)
    };
    Ok(EncodedPair { chosen: with(&pair.chosen, "chosen")?, rejected: with(&pair.rejected, "rejected")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    #[track_caller]
    fn complains(text: &str, parts: &[&str]) {
        let error = parse("pairs.jsonl", text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn every_format_says_the_same() {
        let lines = [
            r#"{"prompt": "Hi?", "chosen": "Ho.", "rejected": "Hm.", "score": 3}"#,
            "",
            r#"{"prompt": [{"role": "user", "content": "Hi?"}],
                "chosen": [{"role": "assistant", "content": "Ho."}],
                "rejected": [{"role": "assistant", "content": "Hm."}]}"#,
            r#"{"chosen": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}],
                "rejected": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hm."}]}"#,
            r#"{"prompt": "Hi?", "score_chosen": 8,
                "chosen": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}],
                "rejected": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hm."}]}"#,
            r#"{"conversations": [{"from": "human", "value": "Hi?"}], "chosen": {"from": "gpt", "value": "Ho."},
                "rejected": {"from": "gpt", "value": "Hm."}}"#,
            r#"{"instruction": "Hi?", "input": "", "chosen": "Ho.", "rejected": "Hm."}"#,
        ]
        .map(|line| line.replace('\n', " "));
        let pairs = parse("a.jsonl", &lines.join("\n")).unwrap();
        for (pair, place) in pairs.iter().zip((1..).filter(|&line| line != 2)) {
            assert_eq!(pair.prompt, [message(Role::User, "Hi?")]);
            assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("Ho.", "Hm."));
            assert_eq!(pair.place, format!("a.jsonl:{place}"));
        }
        assert_eq!(pairs.len(), 6);
        assert_eq!(parse("a.jsonl", &line(&pairs[0])).unwrap()[0], pairs[0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
        complains("\n \n", &["pairs.jsonl", "no preference"]);
        complains(&format!("{good}\n\n{{\"prompt\": "), &["pairs.jsonl:3: ", "no JSON", "column"]);
        complains("[1]", &["pairs.jsonl:1: ", "no JSON object"]);
        complains(r#"{"prompt": "a", "chosen": "b"}"#, &["pairs.jsonl:1: ", "no rejected answer"]);
        complains(r#"{"prompt": "a", "rejected": "b"}"#, &["no chosen answer"]);
        complains(r#"{"chosen": "b", "rejected": "c"}"#, &["no prompt", "begin with the same"]);
        complains(r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#, &["the same", "better"]);
        complains(r#"{"prompt": "a", "chosen": "b", "rejected": ""}"#, &["prompt and rejected", "empty"]);
        complains(r#"{"prompt": "a", "chosen": 1, "rejected": "b"}"#, &["chosen is neither a string"]);
        complains(
            r#"{"prompt": "Oh?", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}"#
                .replace('\n', " ")
                .as_str(),
            &["do not begin with the prompt"],
        );
        complains(r#"{"prompt": [], "chosen": "b", "rejected": "c"}"#, &["no prompt"]);
        complains(
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            &["prompt and chosen", "the user should speak"],
        );
        let two = r#"[{"role": "assistant", "content": "b"}, {"role": "user", "content": "b"},
            {"role": "assistant", "content": "b"}]"#
            .replace('\n', " ");
        complains(
            &format!(r#"{{"prompt": "a", "chosen": {two}, "rejected": "c"}}"#),
            &["chosen is not one assistant message"],
        );
    }

    /// Characters ! a b . are 1, 3, 4, 2, after the newline's 0; user, assistant, end are 5, 6, 7.
    #[test]
    fn tokens_and_what_is_compared_by_hand() {
        let tokenizer = Tokenizer::from_name("char", "!ab.\n").unwrap().with_chat();
        let turn = |content, answer| [message(Role::User, content), message(Role::Assistant, answer)];
        let mut prompt = turn("a", "b").to_vec();
        prompt.push(message(Role::User, "!"));
        let pair = Pair { prompt, chosen: "ab".into(), rejected: ".".into(), place: "pairs.jsonl:7".into() };
        let encoded = encode_pair(&pair, &tokenizer, 13).unwrap();
        assert_eq!(encoded.chosen.tokens, [5, 3, 7, 6, 4, 7, 5, 1, 7, 6, 3, 4, 7]);
        assert_eq!(encoded.rejected.tokens, [5, 3, 7, 6, 4, 7, 5, 1, 7, 6, 2, 7]);
        let compared = |example: &Example| {
            (0..example.answer.len()).filter(|&at| example.answer[at]).collect::<Vec<_>>()
        };
        assert_eq!(compared(&encoded.chosen), [10, 11, 12]);
        assert_eq!(compared(&encoded.rejected), [10, 11]);

        let error = encode_pair(&pair, &tokenizer, 12).unwrap_err().to_string();
        for part in ["pairs.jsonl:7", "chosen", "13 tokens", "holds 12", "--block-size"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
