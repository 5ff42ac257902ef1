//! Small mistakes made in a shader on purpose, one at a time.
//!
//! They are the ones that people make: a constant's last digit, `<=` for `<`, an index off by one, an operand
//! left out, a barrier forgotten, a sum overwritten. What only steers speed, such as the size of a tile, and
//! what would only make a loop endless, such as its increment, is not changed.

use std::ops::Range;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Bytes of the text that are replaced.
    pub at: Range<usize>,
    pub with: String,
    pub kind: &'static str,
    /// The function that holds it; empty outside of any.
    pub function: String,
}

impl Mutation {
    /// The text with the mistake.
    pub fn apply(&self, text: &str) -> String {
        [&text[..self.at.start], &self.with, &text[self.at.end..]].concat()
    }

    /// Its line, counted from 1, before and after.
    pub fn describe(&self, text: &str) -> (usize, String) {
        let line = text[..self.at.start].matches('\n').count() + 1;
        let start = text[..self.at.start].rfind('\n').map_or(0, |i| i + 1);
        let end = text[self.at.start..].find('\n').map_or(text.len(), |i| self.at.start + i);
        let before = text[start..end].trim();
        let after: String =
            [&text[start..self.at.start], &self.with, &text[self.at.end.min(end)..end]].concat();
        (line, format!("`{before}` as `{}`", after.trim()))
    }
}

/// Every mistake that can be made in this text.
pub fn mutations(text: &str) -> Vec<Mutation> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let (mut function, mut item, mut depth) = (String::new(), "", 0usize);
    // The clause of a `for`, and the parentheses around it.
    let mut clause: Option<(usize, usize)> = None;
    let mut parens = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        let word = &text[token.clone()];
        match word {
            "{" => depth += 1,
            "}" => depth -= 1,
            "(" => {
                parens += 1;
                if i > 0 && &text[tokens[i - 1].clone()] == "for" {
                    clause = Some((0, parens));
                }
            }
            ")" => {
                if clause.is_some_and(|(_, at)| at == parens) {
                    clause = None;
                }
                parens -= 1;
            }
            ";" => {
                if let Some((number, _)) = &mut clause {
                    *number += 1;
                }
            }
            "fn" | "const" | "struct" | "var" | "alias" | "enable" if depth == 0 => {
                item = word;
                function = if word == "fn" { text[tokens[i + 1].clone()].into() } else { String::new() };
            }
            _ => {}
        }
        let in_body = item == "fn" && depth > 0 && clause.is_none_or(|(number, _)| number != 2);
        let is_float_constant = item == "const" && depth == 0 && is_float(word);
        if !in_body && !is_float_constant {
            continue;
        }
        let mut add = |at: Range<usize>, with: String, kind| {
            found.push(Mutation { at, with, kind, function: function.clone() });
        };
        if is_float(word) {
            if let Some(with) = other_float(word) {
                add(token.clone(), with, "constant");
            }
        } else if let Some(number) = word.strip_suffix('u').and_then(|n| n.parse::<u32>().ok()) {
            add(token.clone(), format!("{}u", number.wrapping_add(1)), "off by one");
        } else if let Some((with, kind)) = other_operator(text, token) {
            add(token.clone(), with.into(), kind);
        } else if let Some((end, with, kind)) = other_call(text, &tokens, i) {
            add(token.start..end, with, kind);
        }
    }
    found
}

/// Words, numbers and signs, without comments.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let len = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if bytes[at].is_ascii_digit() {
            let exponent = |i: usize| matches!(bytes[at + i], b'-' | b'+') && bytes[at + i - 1] == b'e';
            let part = |i: usize| bytes[at + i].is_ascii_alphanumeric() || bytes[at + i] == b'.';
            (1..rest.len()).find(|&i| !part(i) && !exponent(i)).unwrap_or(rest.len())
        } else if bytes[at].is_ascii_alphabetic() {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if !bytes[at].is_ascii_graphic() {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        } else {
            ["<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "++", "--", "->", "<<", ">>"]
                .iter()
                .find(|sign| rest.starts_with(**sign))
                .map_or(1, |sign| sign.len())
        };
        tokens.push(at..at + len);
        at += len;
    }
    tokens
}

fn is_float(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && (word.contains('.') || word.contains('e'))
        && !word.starts_with("0x")
}

/// A short constant with another last digit, a long one cut short, as 0.0447 for 0.044715.
fn other_float(word: &str) -> Option<String> {
    let (mantissa, exponent) = word.split_at(word.find(['e', 'f']).unwrap_or(word.len()));
    let digits = mantissa.trim_start_matches(['0', '.']).chars().filter(char::is_ascii_digit).count();
    let mut mantissa: Vec<char> = mantissa.chars().collect();
    if digits > 6 {
        mantissa.truncate(mantissa.len() - (digits - 4));
    }
    let last = mantissa.iter().rposition(char::is_ascii_digit)?;
    mantissa[last] = if mantissa[last] == '9' { '8' } else { char::from(mantissa[last] as u8 + 1) };
    Some(mantissa.into_iter().chain(exponent.chars()).collect())
}

fn other_operator(text: &str, token: &Range<usize>) -> Option<(&'static str, &'static str)> {
    // Between blanks it is binary: `x - y`, but not `-y` or `vec4<f32>`.
    if !text[..token.start].ends_with([' ', '\n']) || !text[token.end..].starts_with([' ', '\n']) {
        return None;
    }
    // Nothing added is nothing taken away.
    if text[token.end..].trim_start().starts_with("0u")
        && !text[token.start..].starts_with(['<', '>', '=', '!'])
    {
        return None;
    }
    Some(match &text[token.clone()] {
        "<" => ("<=", "bound"),
        "<=" => ("<", "bound"),
        ">" => (">=", "bound"),
        ">=" => (">", "bound"),
        "==" => ("!=", "condition"),
        "!=" => ("==", "condition"),
        "&&" => ("||", "condition"),
        "||" => ("&&", "condition"),
        "+" => ("-", "operator"),
        "-" => ("+", "operator"),
        "*" => ("/", "operator"),
        "/" => ("*", "operator"),
        "%" => ("/", "index"),
        "+=" | "*=" | "-=" => ("=", "missing accumulation"),
        _ => return None,
    })
}

/// A call or an element replaced, up to the end given.
fn other_call(text: &str, tokens: &[Range<usize>], i: usize) -> Option<(usize, String, &'static str)> {
    let word = |i: usize| tokens.get(i).map_or("", |t| &text[t.clone()]);
    let member = i > 0 && word(i - 1) == ".";
    match (word(i), word(i + 1)) {
        ("min", "(") => Some((tokens[i].end, "max".into(), "min for max")),
        ("max", "(") => Some((tokens[i].end, "min".into(), "max for min")),
        ("workgroupBarrier", "(") => {
            Some((tokens[closing(text, tokens, i + 1)?].end, String::new(), "barrier"))
        }
        ("select", "(") => {
            let end = closing(text, tokens, i + 1)?;
            let inside = &text[tokens[i + 1].end..tokens[end].start];
            let mut parts = split_arguments(inside);
            (parts.len() == 3).then(|| parts.swap(0, 1))?;
            Some((tokens[end].end, format!("select({})", parts.join(", ")), "swapped select"))
        }
        ("x", _) if member => Some((tokens[i].end, "y".into(), "swapped index")),
        ("y", _) if member => Some((tokens[i].end, "x".into(), "swapped index")),
        (name, "[") if !member && name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            let end = closing(text, tokens, i + 1)?;
            let starts_statement = matches!(word(i - 1), ";" | "{" | "}");
            let follows = word(end + 1);
            let read = !starts_statement && !matches!(follows, "=" | "+=" | "." | "[");
            read.then(|| (tokens[end].end, "1.0".into(), "missing operand"))
        }
        _ => None,
    }
}

/// The token that closes what token `open` opens.
fn closing(text: &str, tokens: &[Range<usize>], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match &text[token.clone()] {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

fn split_arguments(inside: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in inside.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(inside[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(inside[start..].trim());
    parts
}

/// The text with a limit on the turns of every loop, so that no mutant runs forever.
pub fn guarded(text: &str) -> String {
    const MOST: u32 = 1 << 16;
    let tokens = tokens(text);
    let (mut guarded, mut copied, mut guards) = (String::new(), 0, 0);
    for (i, _) in tokens.iter().enumerate().filter(|(_, t)| matches!(&text[(*t).clone()], "for" | "while")) {
        let Some(end) = closing(text, &tokens, i + 1) else { continue };
        let Some(open) = tokens.get(end + 1).filter(|t| &text[(*t).clone()] == "{") else { continue };
        guarded.push_str(&text[copied..open.end]);
        guarded.push_str(&format!(" turns_{guards} += 1u; if turns_{guards} > {MOST}u {{ break; }}"));
        copied = open.end;
        guards += 1;
    }
    guarded.push_str(&text[copied..]);
    for guard in 0..guards {
        guarded.push_str(&format!("\nvar<private> turns_{guard}: u32 = 0u;"));
    }
    guarded
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "const TILE: u32 = 4u;
const CUBIC: f32 = 0.044715;
struct Params { len: u32 }
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
    for (var k = 0u; k < 3u; k += 2u) { // a + b
        y[i] += x[k] * select(1.0, 2.0, k == 1u);
        workgroupBarrier();
    }
}";

    #[test]
    fn mistakes_are_made_where_they_matter() {
        let all: Vec<_> = mutations(TEXT).iter().map(|m| m.apply(TEXT)).collect();
        let some = |part: &str| all.iter().any(|text| text.contains(part));
        for part in [
            "0.044716",
            "k <= 3u",
            "k < 4u",
            "y[i] = x[k]",
            "1.0 * select",
            "select(2.0, 1.0, k == 1u)",
            "k != 1u",
            "x[k] / select",
            "        ;\n",
        ] {
            assert!(some(part), "{part} in\n{}", all.join("\n---\n"));
        }
        for part in ["a - b", "k += 3u", "TILE: u32 = 5u", "@workgroup_size(65)"] {
            assert!(!some(part), "{part}");
        }
    }

    #[test]
    fn loops_are_guarded() {
        assert!(guarded(TEXT).contains("k += 2u) { turns_0 += 1u; if turns_0 >"));
        assert!(
            naga::front::wgsl::parse_str(&guarded("fn f() { for (var i = 0u; i < 3u; i++) { } }")).is_ok()
        );
    }
}
