//! Values of JSON, JSON lines and TOML, found by their spelling, so that one way serves them all.

use std::ops::Range;

use super::bytes;
use crate::dice::Dice;

/// Numbers at which sizes stop being what they are: when added up, multiplied, or put into fewer bits. There are none
/// between 255 and 2³¹: those might be meant.
const LARGE: [&str; 9] = [
    "2147483648",
    "4294967296",
    "9007199254740993",
    "2305843009213693952",
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];
const SMALL: [&str; 16] = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "255",
    "0.0",
    "-0.0",
    "0.5",
    "0.9999999999999999",
    "1e-46",
    "1e-320",
    "1e38",
    "1e39",
    "-1e308",
];
const ODD: [&str; 16] = [
    "1e308",
    "1e400",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "null",
    "true",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{301}\u{202e}\"",
    "[]",
    "{}",
    "[[]]",
    "{\"a\": {}}",
];

/// What a value may be, and should not.
pub fn extreme(dice: &mut Dice) -> &'static str {
    if dice.one_in(2) { number(dice) } else { dice.pick(&ODD) }
}

/// What a number may be, and should not.
pub fn number(dice: &mut Dice) -> &'static str {
    if dice.one_in(4) { dice.pick(&SMALL) } else { dice.pick(&LARGE) }
}

pub fn damage(dice: &mut Dice, file: &mut Vec<u8>) {
    let Ok(mut text) = String::from_utf8(file.clone()) else { return bytes::damage(dice, file) };
    for _ in 0..=dice.below(3) {
        let spans = spans(&text);
        let Some(other) = spans.get(dice.below(spans.len())) else { break };
        let is_number = |span: &&Range<usize>| text[(*span).clone()].parse::<f64>().is_ok();
        let numbers: Vec<_> = spans.iter().filter(is_number).collect();
        // Keys and words are many, and less often what is calculated with.
        if !numbers.is_empty() && dice.one_in(2) {
            let span = numbers[dice.below(numbers.len())].clone();
            let value =
                if dice.one_in(4) { nudged(dice, &text[span.clone()]) } else { number(dice).to_owned() };
            text.replace_range(span, &value);
            continue;
        }
        let span = spans[dice.below(spans.len())].clone();
        let value = match dice.below(8) {
            0 => {
                remove(&mut text, span);
                continue;
            }
            1 => format!("{0},{0}", &text[span.clone()]),
            2 => text[other.clone()].to_owned(),
            3 => format!("\"{}\"", "long ".repeat(20_000)),
            4 if dice.one_in(4) => format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
            4 => format!("\"{}\"", text[span.clone()].trim_matches('"')),
            _ => extreme(dice).to_owned(),
        };
        text.replace_range(span, &value);
    }
    if dice.one_in(4) {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let at = dice.below(lines.len());
        match dice.below(3) {
            _ if lines.is_empty() => {}
            0 => drop(lines.remove(at)),
            1 => lines.push(lines[at]),
            _ => lines.swap(at, 0),
        }
        text = lines.concat();
    }
    *file = text.into_bytes();
}

/// Takes a value away, with its key and a comma if it has them.
fn remove(text: &mut String, value: Range<usize>) {
    let before = text[..value.start].trim_end();
    let key = before.strip_suffix(':').and_then(|before| before.trim_end().strip_suffix('"')?.rfind('"'));
    let start = key.unwrap_or(value.start);
    let after = &text[value.end..];
    let comma = after.len() - after.trim_start().strip_prefix(',').map_or(after.len(), str::len);
    let end = value.end + comma;
    let start = if comma == 0 { text[..start].trim_end().trim_end_matches(',').len() } else { start };
    text.replace_range(start..end, "");
}

/// A number that is a little or twice as large.
fn nudged(dice: &mut Dice, value: &str) -> String {
    match value.parse::<i64>() {
        Ok(number) => {
            let ways = [
                number.wrapping_sub(1),
                number.wrapping_add(1),
                number.wrapping_mul(2),
                number / 2,
                number.wrapping_neg(),
            ];
            ways[dice.below(ways.len())].to_string()
        }
        Err(_) => value.parse::<f64>().map_or(value.to_owned(), |number| (number * 2.0).to_string()),
    }
}

/// Strings with their quotes, numbers and words, and lists and objects with their brackets. Keys are among them.
fn spans(text: &str) -> Vec<Range<usize>> {
    let (mut spans, mut open, mut begun) = (Vec::new(), Vec::new(), None);
    let mut quoted = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if let Some(start) = quoted {
            if c == '"' && !escaped {
                spans.push(start..at + 1);
                quoted = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        let word = c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
        match (word, begun) {
            (true, None) => begun = Some(at),
            (false, Some(start)) => {
                spans.push(start..at);
                begun = None;
            }
            _ => {}
        }
        match c {
            '"' => quoted = Some(at),
            '[' | '{' => open.push(at),
            ']' | '}' => spans.extend(open.pop().map(|start| start..at + 1)),
            _ => {}
        }
    }
    spans.extend(begun.map(|start| start..text.len()));
    spans
}
