//! Messages inside a rendered conversation: none of their characters becomes part of a special token.

use aho_corasick::{AhoCorasick, MatchKind};

/// Finds the characters of a message that must be marked, so that nothing a user types is a special token.
///
/// A special token of the rendered conversation that includes a character of a message lies inside the message, crosses
/// one of its ends, or contains all of it. So these characters are marked: the first of each special token inside the
/// message; the last character, if the message ends with the beginning of a special token; the first, if it begins with
/// the end of one or is a part of one. Spaces at the ends do not count, as templates trim them.
///
/// While the template is rendered, another character takes the place of a marked one; afterwards no special token may
/// include that place. A message without marks is not changed: its tokens are those of `transformers`.
#[derive(Debug)]
pub struct Guard {
    tokens: Vec<String>,
    /// `None` where there is no token.
    automaton: Option<AhoCorasick>,
}

impl Guard {
    pub fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let mut tokens: Vec<String> = tokens.map(str::to_owned).collect();
        tokens.sort();
        let build = || AhoCorasick::builder().match_kind(MatchKind::Standard).build(&tokens).ok();
        let automaton = if tokens.is_empty() { None } else { build() };
        Self { tokens, automaton }
    }

    /// The bytes at which characters of a text are marked, in ascending order.
    pub fn places(&self, text: &str) -> Vec<usize> {
        let Some(automaton) = &self.automaton else { return Vec::new() };
        let mut places: Vec<usize> =
            automaton.find_overlapping_iter(text).map(|found| found.start()).collect();
        let trimmed = text.trim();
        let first = text.len() - text.trim_start().len();
        if let Some(last) = trimmed.char_indices().next_back() {
            let begun = |token: &String| starts(token).any(|start| trimmed.ends_with(start));
            if self.tokens.iter().any(begun) {
                places.push(first + last.0);
            }
            let ended = |token: &String| ends(token).any(|end| trimmed.starts_with(end));
            if self.tokens.iter().any(|token| ended(token) || token.contains(trimmed)) {
                places.push(first);
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// The proper beginnings of a token.
fn starts(token: &str) -> impl Iterator<Item = &str> {
    token.char_indices().skip(1).map(|(at, _)| &token[..at])
}

/// Its proper ends.
fn ends(token: &str) -> impl Iterator<Item = &str> {
    token.char_indices().skip(1).map(|(at, _)| &token[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_become_a_token_is_marked() {
        let guard = Guard::new(["<|end|>", "<s>"].into_iter());
        for (text, places) in [
            ("harmless | text > of < all", vec![]),
            ("a <|end|><s>", vec![2, 9]),
            ("<s><s", vec![0, 4]),
            ("a <|en \n", vec![5]),
            (" nd|> a", vec![1]),
            ("end", vec![0]),
            ("", vec![]),
            (" ", vec![]),
        ] {
            assert_eq!(guard.places(text), places, "{text:?}");
        }
    }
}
