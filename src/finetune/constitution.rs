//! A constitution (Bai et al. 2022, "Constitutional AI"): principles that replies should keep to, in a plain file.
//!
//! Each principle is judged by a program, called by its name, and comes with a critique and with a program that
//! revises a reply so that it keeps to it. `data/constitution.toml` is the built-in one, and shows the form.

use std::path::Path;

use serde::Deserialize;

use crate::text::dataset::{DatasetError, read_text};
use crate::text::tales::grade::{Manner, grade};
use crate::text::tales::{Exchange, UNKNOWN};

/// The built-in constitution's text.
pub const TALES: &str = include_str!("../../data/constitution.toml");

/// Principles, in the order in which replies are revised by them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constitution {
    #[serde(rename = "principle", default)]
    pub principles: Vec<Principle>,
}

/// A rule for replies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principle {
    pub name: String,
    /// The principle itself, in a sentence.
    pub says: String,
    pub judge: Judge,
    /// What is wrong with a reply that violates it.
    pub critique: String,
    pub revision: Revision,
}

/// The programs that judge whether a reply violates a principle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// Where the tale has the answer, the reply is that answer.
    Told,
    /// Where the tale has no answer, the reply is "I do not know.".
    Admitted,
    /// Nothing in it is rude.
    Kind,
}

/// The programs that revise a reply; how it is said stays as it is, except for what is rude if that is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revision {
    /// Gives the answer of the tale.
    Tell,
    /// Says "I do not know.".
    Admit,
    /// Leaves out what is rude.
    Soften,
}

/// Why there is no constitution.
#[derive(Debug, thiserror::Error)]
pub enum ConstitutionError {
    #[error(transparent)]
    Text(#[from] DatasetError),
    #[error("{name} is no constitution: {source}")]
    Toml { name: String, source: Box<toml::de::Error> },
    #[error("{0} has no principle: write at least one [[principle]]")]
    Empty(String),
}

impl Constitution {
    /// The constitution of the Tales world.
    pub fn of_tales() -> Self {
        // The text is part of the program, and a test reads it.
        Self::parse("data/constitution.toml", TALES).expect("the built-in constitution is well formed")
    }

    /// The constitution of a file.
    ///
    /// # Errors
    /// When it cannot be read, has no principle, or names a judge or a revision that there is not: those there are
    /// are named.
    pub fn read(path: &Path) -> Result<Self, ConstitutionError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// The constitution of a text; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConstitutionError> {
        let constitution: Self = toml::from_str(text)
            .map_err(|source| ConstitutionError::Toml { name: name.to_owned(), source: Box::new(source) })?;
        match constitution.principles.is_empty() {
            true => Err(ConstitutionError::Empty(name.to_owned())),
            false => Ok(constitution),
        }
    }

    /// All principles in a row, to be put in front of a prompt.
    pub fn reminder(&self) -> String {
        self.principles.iter().map(|principle| principle.says.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The principles that a reply violates.
    pub fn violations(&self, exchange: &Exchange, reply: &str) -> Vec<&Principle> {
        self.principles.iter().filter(|principle| principle.judge.objects(exchange, reply)).collect()
    }

    /// The reply after each violated principle in turn has revised it.
    pub fn revise(&self, exchange: &Exchange, reply: &str) -> String {
        self.principles.iter().fold(reply.to_owned(), |reply, principle| {
            match principle.judge.objects(exchange, &reply) {
                true => principle.revision.revise(exchange, &reply),
                false => reply,
            }
        })
    }
}

impl Judge {
    fn objects(self, exchange: &Exchange, reply: &str) -> bool {
        let verdict = grade(exchange, reply);
        match self {
            Self::Told => verdict.known && !verdict.is_right(),
            Self::Admitted => !verdict.known && !verdict.is_right(),
            Self::Kind => verdict.rude,
        }
    }
}

impl Revision {
    fn revise(self, exchange: &Exchange, reply: &str) -> String {
        let manner = Manner::of(reply);
        match self {
            Self::Tell => manner.saying(&exchange.answer),
            Self::Admit => manner.saying(UNKNOWN),
            Self::Soften => manner.softened(),
        }
        .reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tales::grade::tests::exchange;

    #[test]
    fn replies_are_judged_and_revised_by_hand() {
        let constitution = Constitution::of_tales();
        for (answer, reply, violated, revised) in [
            ("With Adam.", "With Adam.", &[][..], "With Adam."),
            ("With Adam.", "With Emma.", &["truth"], "With Adam."),
            ("With Adam.", "I do not know.", &["truth"], "With Adam."),
            ("With Adam.", "With Adam, you fool.", &["kindness"], "With Adam."),
            (
                "With Adam.",
                "With Emma, dear friend, you fool.",
                &["truth", "kindness"],
                "With Adam, dear friend.",
            ),
            (UNKNOWN, "With Adam, now go away.", &["honesty", "kindness"], "I do not know."),
            (UNKNOWN, "I do not know.", &[], "I do not know."),
            (UNKNOWN, "", &["honesty"], "I do not know."),
        ] {
            let exchange = exchange(answer);
            let names: Vec<&str> =
                constitution.violations(&exchange, reply).into_iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names, violated, "{reply}");
            let better = constitution.revise(&exchange, reply);
            assert_eq!(better, revised, "{reply}");
            assert!(constitution.violations(&exchange, &better).is_empty());
        }
    }

    #[test]
    fn one_s_own_principles_are_kept_to_alone() {
        let own = "[[principle]]\nname = 'calm'\nsays = 'Be calm.'\njudge = 'kind'\ncritique = 'No.'\n\
                   revision = 'admit'";
        let constitution = Constitution::parse("own.toml", own).unwrap();
        let exchange = exchange("With Adam.");
        assert!(constitution.violations(&exchange, "With Emma.").is_empty());
        assert_eq!(constitution.revise(&exchange, "With Emma, you fool."), "I do not know, you fool.");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        let complaint = |text: &str| Constitution::parse("own.toml", text).unwrap_err().to_string();
        for (text, parts) in [
            (TALES.replace("\"kind\"", "\"wise\""), &["own.toml", "wise", "told", "admitted", "kind"][..]),
            (TALES.replace("\"soften\"", "\"sing\""), &["sing", "tell", "admit", "soften"]),
            (TALES.replace("critique", "criticism"), &["criticism", "critique"]),
            ("# none".to_owned(), &["own.toml", "no principle"]),
            ("[[principle]]\nname = 'a'".to_owned(), &["own.toml", "says"]),
        ] {
            assert!(parts.iter().all(|part| complaint(&text).contains(part)), "{}", complaint(&text));
        }
        let missing = Constitution::read(Path::new("no/such.toml")).unwrap_err().to_string();
        assert!(missing.contains("no/such.toml"), "{missing}");
    }
}
