//! The documents of a part, and what is wrong with its lines.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

use super::inputs::Form;
use super::parts::Part;
use super::{DocumentsError, Reading};

/// A document, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub bytes: &'a [u8],
    /// In the content of the file.
    pub begin: u64,
    /// From 1 on.
    pub line: u64,
}

/// What documents of a file are made of.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub path: &'a Path,
    pub form: Form,
    pub reading: &'a Reading,
}

impl<'a> Rows<'a> {
    /// The documents of a part, not yet read; of a text without separators one piece of its only document.
    pub fn of(self, part: &'a Part) -> Vec<Row<'a>> {
        let whole = Row { bytes: &part.bytes, begin: part.begin, line: part.line };
        match (self.form, self.reading.separator.as_bytes()) {
            (Form::Lines, _) => split(whole, b"\n"),
            (_, b"") => vec![whole],
            (_, separator) => split(whole, separator),
        }
    }

    /// The text of a row; `None` where it is empty or, if lines may be skipped, wrong. The second figure counts those.
    pub fn text(self, row: &Row<'a>) -> Result<(Option<Cow<'a, str>>, u64), DocumentsError> {
        let (text, skipped) = match self.form {
            Form::Lines => self.of_line(row)?,
            _ => self.of_text(row)?,
        };
        let text = match self.form {
            _ if self.reading.separator.is_empty() || self.form == Form::Lines => text,
            // The line breaks around a separator are of its line.
            _ => text.map(trimmed),
        };
        Ok((text.filter(|text| !text.is_empty()), skipped))
    }

    fn of_line(self, row: &Row<'a>) -> Result<(Option<Cow<'a, str>>, u64), DocumentsError> {
        if row.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok((None, 0));
        }
        let found = match std::str::from_utf8(row.bytes) {
            Ok(line) => text_under(&self.reading.text_key, line).map_err(|what| DocumentsError::BadLine {
                path: self.path.to_owned(),
                line: row.line,
                at: row.begin,
                what,
            }),
            Err(error) => Err(self.not_utf8(row, error.valid_up_to())),
        };
        match found {
            Ok(text) => Ok((Some(Cow::Owned(text)), 0)),
            Err(_) if self.reading.skip_bad_lines => Ok((None, 1)),
            Err(error) => Err(error),
        }
    }

    fn of_text(self, row: &Row<'a>) -> Result<(Option<Cow<'a, str>>, u64), DocumentsError> {
        let bytes = row.bytes;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok((Some(Cow::Borrowed(text)), 0)),
            Err(_) if self.reading.skip_bad_lines => {
                let lines: Vec<_> =
                    bytes.split_inclusive(|&byte| byte == b'\n').map(std::str::from_utf8).collect();
                let skipped = lines.iter().filter(|line| line.is_err()).count();
                Ok((Some(Cow::Owned(lines.into_iter().flatten().collect())), skipped as u64))
            }
            Err(error) => Err(self.not_utf8(row, error.valid_up_to())),
        }
    }

    fn not_utf8(self, row: &Row, valid: usize) -> DocumentsError {
        let lines = row.bytes[..valid].iter().filter(|&&byte| byte == b'\n').count();
        let (path, line, at) = (self.path.to_owned(), row.line + lines as u64, row.begin + valid as u64);
        DocumentsError::NotUtf8 { path, line, at }
    }
}

fn split<'a>(whole: Row<'a>, separator: &[u8]) -> Vec<Row<'a>> {
    let (mut rows, mut at, mut line) = (Vec::new(), 0, whole.line);
    while at < whole.bytes.len() {
        let rest = &whole.bytes[at..];
        let found = match separator {
            [byte] => rest.iter().position(|other| other == byte),
            _ => rest.windows(separator.len()).position(|window| window == separator),
        };
        let length = found.unwrap_or(rest.len());
        rows.push(Row { bytes: &rest[..length], begin: whole.begin + at as u64, line });
        let next = (at + length + separator.len()).min(whole.bytes.len());
        line += whole.bytes[at..next].iter().filter(|&&byte| byte == b'\n').count() as u64;
        at = next;
    }
    rows
}

/// A text without one line break at its beginning and one at its end.
fn trimmed(text: Cow<str>) -> Cow<str> {
    let bare = |text: &str| -> std::ops::Range<usize> {
        let start = if text.starts_with("\r\n") { 2 } else { usize::from(text.starts_with('\n')) };
        let rest = &text[start..];
        let end = rest.strip_suffix('\n').map_or(rest, |rest| rest.strip_suffix('\r').unwrap_or(rest));
        start..start + end.len()
    };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[bare(text)]),
        Cow::Owned(text) => Cow::Owned(text[bare(&text)].to_owned()),
    }
}

/// The text under a key of an object of JSON; says what is wrong if there is none.
fn text_under(key: &str, line: &str) -> Result<String, String> {
    let mut json = serde_json::Deserializer::from_str(line);
    let found = Key(key).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    found.map_err(|error| match error.is_data() {
        // The library counts lines within this one.
        true => error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        false => format!("no object of JSON: {}", error.to_string().replace("line 1 column", "character")),
    })
}

/// Takes a text under one key, and passes over the rest.
struct Key<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "an object with a text under {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let (mut found, mut keys) = (None, Vec::new());
        while let Some(key) = map.next_key::<Cow<str>>()? {
            if key != self.0 {
                map.next_value::<IgnoredAny>()?;
                keys.push(key.into_owned());
            } else if found.is_none() {
                found = Some(map.next_value::<String>()?);
            } else {
                return Err(A::Error::custom(format!("it has the key {:?} twice", self.0)));
            }
        }
        let other = || {
            let keys: Vec<_> = keys.iter().take(8).map(|key| format!("{key:?}")).collect();
            let has = if keys.is_empty() { "no keys".into() } else { keys.join(", ") };
            A::Error::custom(format!("there is no {:?} in it, only {has}: see --text-key", self.0))
        };
        found.ok_or_else(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(form: Form, reading: &Reading, content: &[u8]) -> Result<(Vec<String>, u64), DocumentsError> {
        let part = Part { bytes: content.to_vec(), begin: 100, line: 7, is_last: true };
        let rows = Rows { path: Path::new("f"), form, reading };
        let (mut all, mut skipped) = (Vec::new(), 0);
        for row in rows.of(&part) {
            let (text, bad) = rows.text(&row)?;
            all.extend(text.map(Cow::into_owned));
            skipped += bad;
        }
        Ok((all, skipped))
    }

    #[test]
    fn a_line_has_a_text_under_a_key() {
        let reading = Reading::default();
        let content = "{\"id\": 1, \"text\": \"On\\u00e9\\n\", \"more\": {\"text\": 5}}\n\r\n{\"text\":\"\"}\n{\"text\":\"b\"}";
        assert_eq!(texts(Form::Lines, &reading, content.as_bytes()).unwrap().0, ["Oné\n", "b"]);
        let other = Reading { text_key: "body".into(), ..reading };
        assert_eq!(texts(Form::Lines, &other, b"{\"text\": 1, \"body\": \"x\"}\n").unwrap().0, ["x"]);
    }

    #[test]
    fn a_separator_stands_between_documents() {
        let reading = Reading { separator: "<|endoftext|>".into(), ..Reading::default() };
        let content = b"One.\n<|endoftext|>\nTwo,\n\ntoo.\r\n<|endoftext|>\r\n\n<|endoftext|>Three";
        assert_eq!(texts(Form::Text, &reading, content).unwrap().0, ["One.", "Two,\n\ntoo.", "Three"]);
        let content = b"One.\n\xff\n<|endoftext|>\n\xfe";
        let error = texts(Form::Text, &reading, content).unwrap_err().to_string();
        assert!(error.contains("f:8:") && error.contains("byte 105"), "{error}");
    }

    #[test]
    fn bad_lines_are_named_or_skipped() {
        let good = "{\"text\": \"a\"}\n";
        for (bad, wanted) in [
            (&b"{\"text\": \"b\xff\"}\n"[..], "f:8: not UTF-8 at byte 125"),
            (b"{\"text\": \"b\"\n", "f:8 (byte 114): no object of JSON"),
            (
                b"[1]\n",
                "f:8 (byte 114): invalid type: sequence, expected an object with a text under \"text\"",
            ),
            (b"{\"text\": 5}\n", "invalid type: integer `5`, expected a string"),
            (b"{\"body\": \"b\"}\n", "there is no \"text\" in it, only \"body\": see --text-key"),
            (b"{\"text\": \"b\"} {}\n", "no object of JSON: trailing characters"),
            (b"{\"text\": \"b\", \"text\": \"c\"}\n", "twice"),
        ] {
            let content = [good.as_bytes(), bad, good.as_bytes()].concat();
            let error = texts(Form::Lines, &Reading::default(), &content).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            let skipping = Reading { skip_bad_lines: true, ..Reading::default() };
            assert_eq!(texts(Form::Lines, &skipping, &content).unwrap(), (vec!["a".into(), "a".into()], 1));
        }
        let skipping = Reading { skip_bad_lines: true, ..Reading::default() };
        let found = texts(Form::Text, &skipping, b"one\ntw\xffo\nthree").unwrap();
        assert_eq!(found, (vec!["one\nthree".into()], 1));
    }
}
