//! Which files `--data` names: a file, a folder, a pattern such as `shards/*.jsonl.zst`, or several of these, separated
//! by commas.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};

use super::DocumentsError;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Text,
    /// An object of JSON in each line.
    Lines,
    /// Tokens of nanoGPT or llm.c.
    Tokens,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub path: PathBuf,
    pub form: Form,
    pub packing: Packing,
}

/// The files that `--data` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// In the order in which they are named; those of a folder or a pattern in the order of their paths.
    pub files: Vec<Input>,
    /// Files of folders that are no texts by their names.
    pub left_out: Vec<PathBuf>,
}

/// Endings of the texts that are looked for in a folder.
const ENDINGS: [(&str, Form); 4] =
    [("txt", Form::Text), ("jsonl", Form::Lines), ("ndjson", Form::Lines), ("bin", Form::Tokens)];

impl Input {
    /// A file by its name; one of an unknown ending is a text.
    pub fn new(path: PathBuf) -> Self {
        let (packing, inner) = unpacked(&path);
        let form = form(&inner).unwrap_or(Form::Text);
        Self { path, form, packing }
    }
}

/// How a file is compressed, and its path without that ending.
fn unpacked(path: &Path) -> (Packing, PathBuf) {
    let packing = match ending(path).as_str() {
        "gz" => Packing::Gzip,
        "zst" => Packing::Zstd,
        _ => return (Packing::None, path.to_owned()),
    };
    (packing, path.with_extension(""))
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn form(path: &Path) -> Option<Form> {
    let ending = ending(path);
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|&(_, form)| form)
}

/// What `data` names, one by one: it is one name where a file has it, and else commas separate several.
pub fn names(data: &str) -> Vec<&str> {
    if Path::new(data).exists() {
        return vec![data];
    }
    data.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Whether there is a file or a folder by each name, as far as names are no patterns.
pub fn exist(data: &str) -> bool {
    names(data).iter().all(|name| is_pattern(name) || Path::new(name).exists())
}

/// Whether a name stands for all files that match it.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// `data` with absolute paths, which hold wherever one is.
pub fn absolute_names(data: &str) -> String {
    let absolute =
        |name: &&str| absolute(name).map_or_else(|_| (*name).into(), |path| path.display().to_string());
    names(data).iter().map(absolute).collect::<Vec<_>>().join(",")
}

impl Inputs {
    /// The files that `data` names.
    pub fn find(data: &str) -> Result<Self, DocumentsError> {
        let mut found = Self::default();
        for name in names(data) {
            let path = Path::new(name);
            match () {
                () if path.is_dir() => found.add_folder(path)?,
                () if path.exists() => found.files.push(Input::new(path.to_owned())),
                () if is_pattern(name) => found.add_matching(name)?,
                () => return Err(DocumentsError::Missing(path.to_owned())),
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = found.files.iter().find(|file| !seen.insert(absolute(&file.path).ok())) {
            return Err(DocumentsError::Twice(twice.path.clone()));
        }
        let first = |is_tokens| found.files.iter().find(|file| (file.form == Form::Tokens) == is_tokens);
        match (first(false), first(true)) {
            (Some(text), Some(tokens)) => {
                Err(DocumentsError::Mixed { text: text.path.clone(), tokens: tokens.path.clone() })
            }
            (None, None) => Err(DocumentsError::NoMatch(data.to_owned())),
            _ => Ok(found),
        }
    }

    pub fn are_tokens(&self) -> bool {
        self.files.iter().any(|file| file.form == Form::Tokens)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), DocumentsError> {
        let before = self.files.len();
        self.walk(folder)?;
        if self.files.len() == before {
            let endings = ENDINGS.map(|(ending, _)| format!(".{ending}")).join(", ");
            return Err(DocumentsError::NoTexts { folder: folder.to_owned(), endings });
        }
        Ok(())
    }

    /// Hidden files and folders are left alone, and links to folders are not followed.
    fn walk(&mut self, folder: &Path) -> Result<(), DocumentsError> {
        let unreadable = |source| DocumentsError::Unreadable { path: folder.to_owned(), source };
        let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(unreadable)?.collect();
        let mut entries = entries.map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&path)?;
            } else if path.is_file() {
                match form(&unpacked(&path).1) {
                    Some(_) => self.files.push(Input::new(path)),
                    None => self.left_out.push(path),
                }
            }
        }
        Ok(())
    }

    fn add_matching(&mut self, pattern: &str) -> Result<(), DocumentsError> {
        let wrong = |what: String| DocumentsError::Pattern { pattern: pattern.to_owned(), what };
        let before = self.files.len();
        for path in glob::glob(pattern).map_err(|error| wrong(error.to_string()))? {
            let path = path.map_err(|error| wrong(error.to_string()))?;
            if path.is_file() {
                self.files.push(Input::new(path));
            }
        }
        if self.files.len() == before {
            return Err(DocumentsError::NoMatch(pattern.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn found(folder: &Path, data: &[&str]) -> Result<Vec<String>, DocumentsError> {
        let data: Vec<_> = data.iter().map(|name| folder.join(name).display().to_string()).collect();
        let name = |input: &Input| input.path.strip_prefix(folder).unwrap().display().to_string();
        Ok(Inputs::find(&data.join(","))?.files.iter().map(name).collect())
    }

    #[test]
    fn files_folders_patterns_and_several_of_them() {
        let names =
            ["b/2.jsonl.zst", "b/1.jsonl.zst", "a.txt.gz", "c.txt", "b/README.md", ".hidden.txt", "x,y.txt"];
        let folder = folder(&names);
        let found = |data: &[&str]| found(folder.path(), data).unwrap();
        assert_eq!(found(&["c.txt"]), ["c.txt"]);
        assert_eq!(found(&[""]), ["a.txt.gz", "b/1.jsonl.zst", "b/2.jsonl.zst", "c.txt", "x,y.txt"]);
        assert_eq!(found(&["b/*.zst", "c.txt"]), ["b/1.jsonl.zst", "b/2.jsonl.zst", "c.txt"]);
        // A file whose name has a comma.
        assert_eq!(found(&["x,y.txt"]), ["x,y.txt"]);
        let all = Inputs::find(&folder.path().display().to_string()).unwrap();
        assert_eq!(all.left_out, [folder.path().join("b/README.md")]);
    }

    #[test]
    fn a_name_says_what_a_file_holds() {
        for (name, form, packing) in [
            ("a.txt", Form::Text, Packing::None),
            ("a", Form::Text, Packing::None),
            ("a.md", Form::Text, Packing::None),
            ("a.JSONL", Form::Lines, Packing::None),
            ("a.jsonl.gz", Form::Lines, Packing::Gzip),
            ("a.txt.zst", Form::Text, Packing::Zstd),
            ("train.bin", Form::Tokens, Packing::None),
        ] {
            let input = Input::new(name.into());
            assert_eq!((input.form, input.packing), (form, packing), "{name}");
        }
    }

    #[test]
    fn what_names_no_files_is_said() {
        let folder = folder(&["a.txt", "t.bin", "d/image.png"]);
        let error = |data: &[&str]| found(folder.path(), data).unwrap_err().to_string();
        assert!(error(&["none.txt"]).contains("there is no file"));
        assert!(error(&["*.zst"]).contains("pattern"));
        assert!(error(&["[.txt"]).contains("no pattern of file names"));
        assert!(error(&["d"]).contains(".txt, .jsonl, .ndjson, .bin"));
        assert!(error(&["a.txt", "*.txt"]).contains("twice"));
        assert!(error(&["a.txt", "t.bin"]).contains("both texts"));
    }
}
