//! The content of a file in parts of some megabytes, cut between lines, documents or words.

use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use super::inputs::{Form, Input};
use super::unpack::Unpacked;
use super::{DocumentsError, Reading};
use crate::engine::memory::available;
use crate::files::BYTE_ORDER_MARK;
use crate::text::tokenizer::word_end;

/// Bytes of a part; more where there is no place to cut.
pub const PART: usize = 1 << 22;
/// The longest line of JSON or document between separators.
const LONGEST: usize = 1 << 26;

/// Where the content of a file may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut<'a> {
    /// After a line's end.
    Lines,
    /// After a separator.
    After(&'a str),
    /// Before a space, as all tokenizers of Lal's own do.
    Words,
    /// Nowhere: other tokenizers may join what is on both sides of any place.
    Nowhere,
}

/// A part of a file's content.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// In the content of the file.
    pub begin: u64,
    /// The number of its first line, from 1 on.
    pub line: u64,
    /// Whether the file ends with it.
    pub is_last: bool,
}

impl Part {
    pub fn end(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }

    /// Lines that end in it.
    pub fn lines(&self) -> u64 {
        self.bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
    }
}

/// A place between two parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// In the content of the file.
    pub byte: u64,
    /// Lines before it.
    pub lines: u64,
}

/// Reads a file part by part.
pub struct Parts<'a> {
    path: PathBuf,
    unpacked: Unpacked,
    cut: Cut<'a>,
    /// Read, and not yet given.
    rest: Vec<u8>,
    place: Place,
    size: usize,
    ended: bool,
}

impl<'a> Parts<'a> {
    /// The parts of `input` from a place on where an earlier part ended. A tokenizer that `joins` any two words needs a
    /// whole document at once.
    pub fn open(
        input: &Input,
        reading: &'a Reading,
        place: Place,
        joins: bool,
    ) -> Result<Self, DocumentsError> {
        let path = input.path.clone();
        let unpacked = Unpacked::open(input, place.byte).map_err(|source| match source.kind() {
            ErrorKind::NotFound => DocumentsError::Missing(path.clone()),
            _ => DocumentsError::Unreadable { path: path.clone(), source },
        })?;
        let cut = match (input.form, reading.separator.as_str()) {
            (Form::Lines, _) => Cut::Lines,
            (_, "") if joins => Cut::Nowhere,
            (_, "") => Cut::Words,
            (_, separator) => Cut::After(separator),
        };
        Ok(Self { path, unpacked, cut, rest: Vec::new(), place, size: PART, ended: false })
    }

    /// The same in parts of another size.
    #[cfg(test)]
    fn of_size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    /// Bytes that were read of the file itself.
    pub fn taken(&self) -> u64 {
        self.unpacked.taken()
    }

    /// The next part; `None` after the last. An empty file has none.
    pub fn read_next(&mut self) -> Result<Option<Part>, DocumentsError> {
        let mut wanted = self.size;
        let mut searched = 0;
        loop {
            self.fill(wanted)?;
            let cut = if self.ended { Some(self.rest.len()) } else { self.last_cut(searched) };
            if let Some(cut) = cut {
                return Ok(self.give(cut));
            }
            let most = self.most();
            if self.rest.len() >= most {
                let Place { byte, lines } = self.place;
                let what = match self.cut {
                    Cut::Lines => "line",
                    Cut::After(_) => "document",
                    Cut::Words => "word",
                    Cut::Nowhere => "text",
                };
                let (path, most) = (self.path.clone(), most as u64 >> 20);
                return Err(DocumentsError::TooLong { path, line: lines + 1, at: byte, what, most });
            }
            // A separator may have begun already.
            searched = self.rest.len().saturating_sub(self.overlap());
            wanted = self.rest.len() + self.size;
        }
    }

    fn most(&self) -> usize {
        match self.cut {
            Cut::Lines | Cut::After(_) => LONGEST,
            // It and its tokens are in memory.
            Cut::Words | Cut::Nowhere => usize::try_from(available() / 8).unwrap_or(usize::MAX),
        }
    }

    /// Reads until there are so many bytes, or no more.
    fn fill(&mut self, wanted: usize) -> Result<(), DocumentsError> {
        if self.ended || self.rest.len() >= wanted {
            return Ok(());
        }
        let missing = wanted - self.rest.len();
        let read = (&mut self.unpacked).take(missing as u64).read_to_end(&mut self.rest);
        let at = self.place.byte + self.rest.len() as u64;
        let read = read.map_err(|error| {
            let what = match error.kind() {
                ErrorKind::UnexpectedEof => "the file is cut short".into(),
                _ => error.to_string(),
            };
            DocumentsError::Damaged { path: self.path.clone(), at, what }
        })?;
        self.ended = read < missing;
        let mut mark = [0; 3];
        let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark);
        if self.place.byte == 0 && self.rest.starts_with(mark.as_bytes()) {
            self.rest.drain(..mark.len());
            self.place.byte = mark.len() as u64;
        }
        Ok(())
    }

    fn overlap(&self) -> usize {
        match self.cut {
            Cut::After(separator) => separator.len(),
            _ => 1,
        }
    }

    /// The last place to cut what was read, at or after `from`; none at its beginning or end.
    fn last_cut(&self, from: usize) -> Option<usize> {
        let bytes = &self.rest;
        match self.cut {
            Cut::Lines => Some(bytes[from..].iter().rposition(|&byte| byte == b'\n')? + from + 1),
            Cut::After(separator) => {
                let separator = separator.as_bytes();
                let found = bytes[from..].windows(separator.len()).rposition(|window| window == separator)?;
                Some(from + found + separator.len())
            }
            Cut::Words => (from.max(1)..bytes.len()).rev().find(|&at| word_end(bytes, at)),
            Cut::Nowhere => None,
        }
    }

    fn give(&mut self, cut: usize) -> Option<Part> {
        let rest = self.rest.split_off(cut);
        let bytes = std::mem::replace(&mut self.rest, rest);
        if bytes.is_empty() {
            return None;
        }
        let Place { byte, lines } = self.place;
        let is_last = self.ended && self.rest.is_empty();
        let part = Part { bytes, begin: byte, line: lines + 1, is_last };
        self.place = Place { byte: part.end(), lines: lines + part.lines() };
        Some(part)
    }

    /// Where the next part begins.
    pub fn place(&self) -> Place {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str, content: &str, separator: &str, size: usize, joins: bool) -> Vec<Part> {
        let folder = tempfile::tempdir().unwrap();
        let input = Input::new(folder.path().join(name));
        std::fs::write(&input.path, content).unwrap();
        let reading = Reading { separator: separator.into(), ..Reading::default() };
        let all = |place| {
            let mut parts = Parts::open(&input, &reading, place, joins).unwrap().of_size(size);
            let mut all = Vec::new();
            while let Some(part) = parts.read_next().unwrap() {
                all.push((part, parts.place()));
            }
            assert_eq!(parts.taken(), content.len() as u64);
            all
        };
        let whole = all(Place::default());
        // From any place between two parts on there are the same.
        for (i, (_, place)) in whole.iter().enumerate() {
            let rest = all(*place);
            assert!(
                rest.iter()
                    .map(|(part, _)| &part.bytes)
                    .eq(whole[i + 1..].iter().map(|(part, _)| &part.bytes))
            );
        }
        whole.into_iter().map(|(part, _)| part).collect()
    }

    fn texts(parts: &[Part]) -> Vec<&str> {
        parts.iter().map(|part| std::str::from_utf8(&part.bytes).unwrap()).collect()
    }

    #[test]
    fn lines_documents_and_words_stay_whole() {
        let lines = parts("a.jsonl", "one\ntwo\n\nthree is long\nfour", "", 9, false);
        assert_eq!(texts(&lines), ["one\ntwo\n\n", "three is long\n", "four"]);
        let places: Vec<_> = lines.iter().map(|part| (part.begin, part.line, part.is_last)).collect();
        assert_eq!(places, [(0, 1, false), (9, 4, false), (23, 5, true)]);
        assert_eq!(texts(&parts("a.txt", "one--two--three", "--", 8, false)), ["one--", "two--", "three"]);
        assert_eq!(texts(&parts("a.txt", "one two three", "", 6, false)), ["one", " two", " three"]);
        assert_eq!(texts(&parts("a.txt", "one two three", "", 6, true)), ["one two three"]);
        assert_eq!(texts(&parts("a.txt", "", "", 6, false)), [""; 0]);
    }

    #[test]
    fn a_mark_at_the_beginning_is_no_text() {
        let marked = parts("a.txt", "\u{feff}one two", "", 4, false);
        assert_eq!((texts(&marked), marked[0].begin), (vec!["one", " two"], 3));
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let input = Input::new(folder.path().join("a.jsonl"));
        std::fs::write(&input.path, [b"{}\n".to_vec(), vec![b'x'; LONGEST + PART]].concat()).unwrap();
        let reading = Reading::default();
        let mut parts = Parts::open(&input, &reading, Place::default(), false).unwrap();
        assert_eq!(parts.read_next().unwrap().unwrap().bytes, b"{}\n");
        let error = parts.read_next().unwrap_err().to_string();
        assert!(error.contains("a.jsonl:2 (byte 3)") && error.contains("64 MiB"), "{error}");
    }
}
