//! Text that does nothing to a terminal: characters that would steer it are shown instead of sent.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal would act on it, or show what follows in another order or not at all. A line's end and a tab are
/// part of any text.
fn steers(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Marks, embeddings, overrides and isolates of bidirectional text; separators; shapes; annotations; tags.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => character.is_control(),
    }
}

/// The text as a person may see it: ␛ for an escape, `\u{9b}` where there is no picture.
pub fn visible(text: &str) -> Cow<'_, str> {
    rewritten(text, |character, to| match character {
        '\0'..='\u{1f}' => to.push(char::from_u32(0x2400 + character as u32).unwrap_or('␣')),
        '\u{7f}' => to.push('␡'),
        _ => to.extend(character.escape_unicode()),
    })
}

/// A line of JSON with the same value, in which such characters are escaped.
pub fn visible_json(line: &str) -> Cow<'_, str> {
    rewritten(line, |character, to| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(to, "\\u{unit:04x}");
        }
    })
}

/// Whether there is anything to show instead.
pub fn is_steering(text: &str) -> bool {
    text.chars().any(steers)
}

fn rewritten(text: &str, show: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !is_steering(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) { show(character, &mut shown) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        for (text, shown) in [
            ("\u{1b}[31mred\u{1b}]0;title\u{7}", "␛[31mred␛]0;title␇"),
            ("a\rb\u{8}c\0d\u{7f}", "a␍b␈c␀d␡"),
            ("\u{9b}31m \u{85}", "\\u{9b}31m \\u{85}"),
            ("abc\u{202e}fed\u{2066}\u{200f}", "abc\\u{202e}fed\\u{2066}\\u{200f}"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        for text in ["", "two\nlines\tand a tab", "Zoë — 今日は 🙂 नमस्ते", "👩\u{200d}🔬"]
        {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_keeps_its_value() {
        for text in ["\u{9b}31m\u{7f}", "abc\u{202e}", "\u{e0041}\u{1b}", "plain\n"] {
            let line = serde_json::to_string(text).unwrap();
            let shown = visible_json(&line);
            assert!(!is_steering(&shown), "{shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
