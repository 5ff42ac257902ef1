//! What `--data` names: a short text, which is kept in memory, or files of any length.

use std::path::Path;

use super::collection::Collection;
use super::corpus::{Corpus, names as corpora};
use super::documents::Reading;
use super::documents::inputs::{Form, Input, Packing, is_pattern, names};

/// The longest text that is made to tokens at every start: that takes a second or two.
const SHORT: u64 = 1 << 24;

/// Something to learn from.
#[derive(Clone, Debug)]
pub enum Data {
    /// A text in memory.
    Text(Corpus),
    /// Files whose tokens are prepared once.
    Files(Collection),
}

impl Data {
    /// What errors and run folders call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(corpus) => &corpus.name,
            Self::Files(files) => &files.name,
        }
    }

    /// What folders of runs are called after: a name, or a path whose last part counts.
    pub fn title(&self) -> &str {
        match self {
            Self::Text(corpus) => &corpus.name,
            Self::Files(files) => &files.title,
        }
    }

    /// The text in memory, if it is one.
    pub fn corpus(&self) -> Option<&Corpus> {
        match self {
            Self::Text(corpus) => Some(corpus),
            Self::Files(_) => None,
        }
    }
}

/// Whether `data` names a corpus that Lal knows, or a single short text; or a file that is not there.
pub fn is_short(data: &str, reading: &Reading) -> bool {
    if corpora().contains(&data) {
        return true;
    }
    let [name] = names(data)[..] else { return false };
    let path = Path::new(name);
    let Input { form, packing, .. } = Input::new(path.to_owned());
    let is_plain = form == Form::Text
        && packing == Packing::None
        && reading.separator.is_empty()
        && !reading.skip_bad_lines;
    match path.metadata() {
        Ok(found) if found.is_dir() => false,
        Ok(found) => is_plain && found.len() <= SHORT,
        Err(_) => !is_pattern(name),
    }
}
