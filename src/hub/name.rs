//! Names of models.

use std::fmt;
use std::str::FromStr;

/// `org/name`, or `org/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName {
    pub org: String,
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

/// The revision where none is named.
const MAIN: &str = "main";

/// What is no name of a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no model of the hub: give org/name, as in HuggingFaceTB/SmolLM2-135M-Instruct")]
pub struct NameError(String);

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let bad = || NameError(text.to_owned());
        let (org, name) = id.split_once('/').ok_or_else(bad)?;
        let fits = |part: &str| part.len() <= 96 && is_plain(part) && !part.contains("--");
        if !fits(org) || !fits(name) || !revision.split('/').all(is_plain) {
            return Err(bad());
        }
        Ok(Self { org: org.to_owned(), name: name.to_owned(), revision: revision.to_owned() })
    }
}

/// Whether a text is a file's name on every system, and none with a meaning of its own.
pub(super) fn is_plain(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !part.is_empty() && part.chars().all(plain) && !part.starts_with('.') && !part.ends_with('.')
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_two_parts_and_no_paths() {
        let name: ModelName = "HuggingFaceTB/SmolLM2-135M".parse().unwrap();
        assert_eq!((name.org.as_str(), name.revision.as_str()), ("HuggingFaceTB", "main"));
        assert_eq!("a/b@v1.0".parse::<ModelName>().unwrap().to_string(), "a/b@v1.0");
        for bad in [
            "", "a", "a/", "/b", "a/b/c", "../b", "a/..", "./b", "a/.b", "a b/c", "a/b@", "a/b@../x",
            "a/b--c",
        ] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }
}
