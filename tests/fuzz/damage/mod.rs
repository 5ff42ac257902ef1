//! What can be wrong with a file.

mod bytes;
mod gguf;
mod template;
mod tensors;
mod values;

use std::fs;
use std::path::Path;

pub use self::values::{extreme, number};
use crate::dice::Dice;
use crate::seeds::{Seeds, link};

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Anywhere, whatever the file means.
    Bytes,
    /// Values of JSON, JSON lines or TOML replaced, removed, doubled or exchanged.
    Values,
    /// A safetensors file: its header as [`Values`](Self::Values), its length, or its elements.
    Tensors,
    /// A GGUF file: its lengths, its numbers, or any byte.
    Gguf,
    /// A chat template: its words removed, doubled, exchanged or replaced, or any byte.
    Template,
    /// A text that is hard on tokenizers.
    Text,
    /// A byte order mark before a file that is otherwise right.
    Mark,
    /// A size in a model's config.json, and its tensors made to fit.
    Size,
    /// The file of another run in its place.
    Exchange,
    /// A pipe or a device in its place.
    Endless,
}

impl Damage {
    /// Damages the file at `path`, which is there.
    pub fn apply(self, dice: &mut Dice, path: &Path, seeds: &Seeds) {
        // A run that writes no samples has no such file yet.
        let mut file = fs::read(path).unwrap_or_default();
        match self {
            Self::Bytes => bytes::damage(dice, &mut file),
            Self::Values | Self::Tensors if dice.one_in(5) => bytes::damage(dice, &mut file),
            Self::Values => values::damage(dice, &mut file),
            Self::Tensors => tensors::damage(dice, &mut file),
            Self::Gguf => gguf::damage(dice, &mut file),
            Self::Template => template::damage(dice, &mut file),
            Self::Text => bytes::text(dice, &mut file),
            Self::Mark => drop(file.splice(0..0, *b"\xef\xbb\xbf")),
            Self::Size => tensors::resize(dice, path, &mut file),
            Self::Exchange => return exchange(dice, path, seeds),
            Self::Endless => return endless(dice, path, seeds),
        }
        fs::write(path, file).expect("the scratch folder can be written to");
    }
}

fn exchange(dice: &mut Dice, path: &Path, seeds: &Seeds) {
    let name = path.file_name().expect("a file has a name");
    let other = seeds.path(dice.pick(&Seeds::runs())).join(name);
    if other.exists() {
        fs::copy(other, path).expect("the scratch folder can be written to");
    }
}

fn endless(dice: &mut Dice, path: &Path, seeds: &Seeds) {
    let all = seeds.endless();
    if let Some((_, place)) = all.get(dice.below(all.len())) {
        let _ = fs::remove_file(path);
        link(place, path);
    }
}
