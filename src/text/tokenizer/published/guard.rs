//! Texts of others inside the form of a conversation: none of their characters becomes part of a special token.

use aho_corasick::{AhoCorasick, MatchKind};

/// Where texts of others must be marked.
///
/// A special token of a rendered conversation that holds a character of somebody's text lies whole in that text, or
/// crosses an end of it, or holds all of it. So in each text one character is marked of every special token that is in
/// it, its last character where it ends as one begins, its first where it begins as one ends, and its first where it
/// is a part of one altogether. Spaces at the ends, which templates trim, are left out of account. A mark is another
/// character while the template is rendered, and afterwards a place that no special token may hold. All other texts,
/// and so what a template finds in them, are as they were: their tokens are those of `transformers`.
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
