//! Questions about tales, with the answers that the tales imply.
//!
//! A fact is asked after in one way only and answered in as few words as say it, so that an answer is right or
//! wrong to the letter. Some questions have no answer in their tale; that is then what to say.

use serde::Serialize;
use serde_json::json;

use super::Fact;
use crate::text::chat::{Message, Role};

/// The answer to what the tale does not say.
pub const UNKNOWN: &str = "I do not know.";

/// A question about a tale.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Exchange {
    pub tale: String,
    pub question: String,
    pub answer: String,
    /// Whether the tale holds the answer; if not, it is [`UNKNOWN`].
    pub known: bool,
}

impl Exchange {
    /// What is put to a model: the tale, and on a line of its own the question.
    pub fn prompt(&self) -> String {
        format!("{}\n{}", self.tale, self.question)
    }

    /// The question without whom or what it is about.
    pub fn kind(&self) -> &'static str {
        let question = self.question.as_str();
        match question.split(' ').next() {
            Some("Does") => "Does … know where … is?",
            Some("How") => "How does … look?",
            Some("Where") if question.ends_with(" live?") => "Where does … live?",
            Some("Where") => "Where is …?",
            _ if question.ends_with(" like?") => "What is … like?",
            _ => "What is …?",
        }
    }
}

/// The lines of a `.jsonl` for supervised fine-tuning: `{"prompt", "response", "known"}` each.
pub fn jsonl(exchanges: &[Exchange]) -> String {
    let line = |exchange: &Exchange| {
        let (prompt, response) = (exchange.prompt(), &exchange.answer);
        format!("{}\n", json!({"prompt": prompt, "response": response, "known": exchange.known}))
    };
    exchanges.iter().map(line).collect()
}

/// Several questions about one tale as a conversation: the first comes with the tale, the others alone.
pub fn messages(exchanges: &[Exchange]) -> Vec<Message> {
    let said = |(turn, exchange): (usize, &Exchange)| {
        let asked = if turn == 0 { exchange.prompt() } else { exchange.question.clone() };
        [
            Message { role: Role::User, content: asked },
            Message { role: Role::Assistant, content: exchange.answer.clone() },
        ]
    };
    exchanges.iter().enumerate().flat_map(said).collect()
}

/// How a fact is asked after, and its short answer; `None` for relations that are not asked after.
pub(super) fn ask(fact: &Fact) -> Option<(String, String)> {
    let Fact { subject, relation, object } = fact;
    Some(match relation.as_str() {
        "is" => (format!("Where is {subject}?"), sentence(object)),
        "is a" => (format!("What is {subject}?"), format!("A {object}.")),
        "is by nature" => (format!("What is {subject} like?"), format!("{subject} is {object}.")),
        "looks" => (format!("How does {subject} look?"), format!("It is {object}.")),
        "lives in" => (format!("Where does {subject} live?"), format!("In {object}.")),
        _ => {
            let what = relation.strip_prefix("knows ")?;
            let answer = if object == "yes" { "knows" } else { "does not know" };
            (format!("Does {subject} know {what}?"), format!("{subject} {answer}."))
        }
    })
}

fn sentence(phrase: &str) -> String {
    let mut rest = phrase.chars();
    rest.next().map(|first| format!("{}{}.", first.to_uppercase(), rest.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_by_hand() {
        let fact = |subject: &str, relation: &str, object: &str| Fact {
            subject: subject.into(),
            relation: relation.into(),
            object: object.into(),
        };
        let asked = |s, r, o| ask(&fact(s, r, o)).unwrap();
        let pair = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
        assert_eq!(asked("the ring", "is", "in the jar"), pair("Where is the ring?", "In the jar."));
        assert_eq!(asked("Adam", "is a", "king"), pair("What is Adam?", "A king."));
        assert_eq!(
            asked("Adam", "knows where the ring is", "no"),
            pair("Does Adam know where the ring is?", "Adam does not know.")
        );
        assert_eq!(ask(&fact("Adam", "dreams of", "gold")), None);
    }
}
