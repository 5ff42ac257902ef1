//! Text for a terminal of 80 columns.

use textwrap::Options;

/// The columns that every terminal has.
pub const COLUMNS: usize = 80;

/// Words in lines of at most [`COLUMNS`]; all but the first begin with so many spaces. A longer word stays whole.
pub fn wrapped(text: &str, indent: usize) -> String {
    let spaces = " ".repeat(indent);
    let options = Options::new(COLUMNS).subsequent_indent(&spaces).break_words(false);
    textwrap::fill(text, options.word_splitter(textwrap::WordSplitter::NoHyphenation))
}
