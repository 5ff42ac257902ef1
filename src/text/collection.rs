//! Files to learn from that need not fit into memory: what they are, and their texts one after the other.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::documents::inputs::{Form, Input, Inputs, absolute_names, names};
use super::documents::parts::{PART, Parts, Place};
use super::documents::rows::Rows;
use super::documents::{DocumentsError, Reading};
use super::store::facts::Facts;
use crate::files::hexadecimal;

/// Files that `--data` names together.
#[derive(Clone, Debug)]
pub struct Collection {
    /// What errors call it.
    pub name: String,
    /// What folders of runs are called after.
    pub title: String,
    /// What `--data` named, with absolute paths.
    pub place: String,
    pub files: Vec<Input>,
    /// Files of folders that are no texts by their names.
    pub left_out: Vec<PathBuf>,
    pub reading: Reading,
    /// Of each file.
    pub facts: Vec<Facts>,
}

impl Collection {
    /// The files that `data` names, each read once if it is not known from an earlier time: what is known is kept in
    /// the folder `kept`. `progress` gets the bytes that are done, and all.
    pub fn find(
        data: &str,
        reading: &Reading,
        kept: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DocumentsError> {
        let Inputs { files, left_out } = Inputs::find(data)?;
        let length = |input: &Input| input.path.metadata().map_or(0, |found| found.len());
        let (total, mut done) = (files.iter().map(length).sum(), 0);
        let mut facts = Vec::new();
        for input in &files {
            // A text that is one document is known by its content.
            let asks = (input.form == Form::Text && reading.separator.is_empty()).then_some(reading);
            facts.push(Facts::of(input, asks, kept, &mut |bytes| {
                done += bytes;
                progress(done, total);
            })?);
        }
        let name = match names(data)[..] {
            [one] => one.to_owned(),
            ref several => format!("{} and {} more", several[0], several.len() - 1),
        };
        let title = title(&files, &name);
        Ok(Self {
            name,
            title,
            place: absolute_names(data),
            files,
            left_out,
            reading: reading.clone(),
            facts,
        })
    }

    pub fn are_tokens(&self) -> bool {
        self.files.iter().any(|file| file.form == Form::Tokens)
    }

    /// Whether it is a single text without an end or a beginning in it.
    pub fn is_one_text(&self) -> bool {
        matches!(&self.files[..], [file] if file.form == Form::Text) && self.reading.separator.is_empty()
    }

    /// Of all files.
    pub fn bytes(&self) -> u64 {
        self.facts.iter().map(Facts::bytes).sum()
    }

    /// The SHA-256 of its file, or that of the hashes of its files, a line each, in their order.
    pub fn sha256(&self) -> String {
        match &self.facts[..] {
            [one] => one.sha256.clone(),
            all => {
                let lines: String = all.iter().map(|facts| format!("{}\n", facts.sha256)).collect();
                hexadecimal(&Sha256::digest(lines))
            }
        }
    }

    /// All texts, in pieces of no more than some megabytes; or, of every part of the files, some that make up this
    /// share of the whole, evenly distributed.
    pub fn texts(&self, share: f64) -> impl Iterator<Item = Result<String, DocumentsError>> {
        let mut number = 0u64;
        let mut chosen = move || {
            number += 1;
            (number as f64 * share).floor() > ((number - 1) as f64 * share).floor()
        };
        let mut files = self.files.iter();
        let mut open: Option<(&Input, Parts)> = None;
        let mut ready: std::vec::IntoIter<Result<String, DocumentsError>> = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(text) = ready.next() {
                    return Some(text);
                }
                let Some((input, parts)) = &mut open else {
                    let input = files.next()?;
                    match Parts::open(input, &self.reading, Place::default(), false) {
                        Ok(parts) => open = Some((input, parts)),
                        Err(error) => return Some(Err(error)),
                    }
                    continue;
                };
                match parts.read_next() {
                    Ok(Some(part)) if chosen() => {
                        let rows = Rows { path: &input.path, form: input.form, reading: &self.reading };
                        let text =
                            |row| rows.text(&row).map(|(text, _)| text.map(Cow::into_owned)).transpose();
                        ready = rows.of(&part).into_iter().filter_map(text).collect::<Vec<_>>().into_iter();
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => open = None,
                    Err(error) => {
                        open = None;
                        return Some(Err(error));
                    }
                }
            }
        })
    }

    /// Bytes of what is in the files, for which compressed ones are read.
    pub fn content_bytes(&self, kept: Option<&Path>) -> Result<u64, DocumentsError> {
        let of = |(input, facts): (&Input, &Facts)| match &facts.content {
            Some(content) => Ok(content.bytes),
            None => {
                let facts = Facts::of(input, Some(&self.reading), kept, &mut |_| {})?;
                Ok(facts.content.map_or(0, |content| content.bytes))
            }
        };
        self.files.iter().zip(&self.facts).map(of).sum()
    }

    /// The share of it that is about `bytes` long.
    pub fn share(&self, bytes: u64, kept: Option<&Path>) -> Result<f64, DocumentsError> {
        let all = self.content_bytes(kept)?;
        // Where there are few parts, one more or less matters.
        Ok(if all <= bytes + PART as u64 { 1.0 } else { bytes as f64 / all as f64 })
    }
}

/// A word for files: the name of their folder, or of the only file without its endings.
fn title(files: &[Input], name: &str) -> String {
    let path = match files {
        [one] => &one.path,
        _ if Path::new(name).is_dir() => Path::new(name),
        _ => files[0].path.parent().unwrap_or(Path::new("")),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("data");
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn find(folder: &Path, data: &str) -> Collection {
        let data = folder.join(data).display().to_string();
        Collection::find(&data, &Reading::default(), None, &mut |_, _| {}).unwrap()
    }

    #[test]
    fn texts_come_in_order_whole_or_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let line = |i: usize| format!("{{\"text\": \"{i} {}\"}}\n", "x".repeat(1 << 20));
        fs::write(folder.path().join("a.jsonl"), (0..20).map(line).collect::<String>()).unwrap();
        fs::write(folder.path().join("b.jsonl"), line(20) + "\n" + &line(21)).unwrap();
        let all = find(folder.path(), "*.jsonl");
        let first = |text: &String| text.split(' ').next().unwrap().parse::<usize>().unwrap();
        let texts =
            |share| -> Vec<usize> { all.texts(share).map(Result::unwrap).map(|text| first(&text)).collect() };
        assert_eq!(texts(1.0), (0..22).collect::<Vec<_>>());
        // Parts of three lines, and the last of each file: eight in all.
        assert_eq!(texts(0.5), [3, 4, 5, 9, 10, 11, 15, 16, 17, 20, 21]);
        assert!(!all.is_one_text() && !all.are_tokens() && all.bytes() > 20 << 20);
        assert_eq!(all.share(1 << 40, None).unwrap(), 1.0);
        assert!((all.share(all.bytes() / 4, None).unwrap() - 0.25).abs() < 1e-6);
    }

    #[test]
    fn several_files_have_the_hash_of_their_hashes() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.txt", "abc"), ("b.txt", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(find(folder.path(), "a.txt").sha256(), abc);
        // printf 'HASH\nHASH\n' | sha256sum, of the hashes of "abc" and of nothing.
        assert_eq!(
            find(folder.path(), "").sha256(),
            "ff481ce4c9482a1350469a8ff263915d6a478123e3a0c03f6eba5cb3e38a150f"
        );
    }
}
