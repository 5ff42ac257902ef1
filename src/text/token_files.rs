//! Files of tokens that other programs prepare: nanoGPT's `train.bin` and `val.bin`, and llm.c's with its header.
//!
//! A file whose name has `val` in it is to validate on. Where there is none, the last tenth of all tokens is.

use std::io;
use std::path::Path;

use super::collection::Collection;
use super::dataset::{Dataset, DatasetError, HeldOut};
use super::tokenizer::Tokenizer;
use super::tokens::{Stored, Stretch, Tokens, TokensError, Width};
use crate::files::{open, read_at};

/// The numbers that llm.c's headers begin with, each with its version and the width of a token.
const HEADERS: [(u32, u32, Width); 2] = [(20_240_520, 1, Width::U16), (20_240_801, 7, Width::U32)];
/// Bytes of a header.
const HEADER: u64 = 1024;
/// Tokens that are read at a time.
const CHUNK: usize = 1 << 20;

/// Where the tokens of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    begin: u64,
    len: usize,
    width: Width,
}

fn wrong(path: &Path, what: String) -> TokensError {
    TokensError::Unreadable {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    }
}

fn layout(path: &Path) -> Result<Layout, TokensError> {
    let unreadable = |source| TokensError::Unreadable { path: path.to_owned(), source };
    let file = open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut head = [0; 12];
    if bytes >= HEADER {
        read_at(&file, 0, &mut head).map_err(unreadable)?;
    }
    let [magic, version, count] = [0, 4, 8].map(|at| {
        let bytes = head[at..].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(bytes)
    });
    if let Some(&(_, known, width)) = HEADERS.iter().find(|(known, ..)| *known == magic) {
        let whole = HEADER + u64::from(count) * width.bytes() as u64;
        if version != known {
            return Err(wrong(path, format!("its header is of version {version}, and {known} is known")));
        }
        if bytes != whole {
            let what = format!("it has {bytes} bytes, and by its header {whole}: {count} tokens");
            return Err(wrong(path, what));
        }
        return Ok(Layout { begin: HEADER, len: count as usize, width });
    }
    // nanoGPT's have no header.
    if bytes % 2 != 0 {
        return Err(wrong(path, format!("it has {bytes} bytes, which are no whole tokens of 16 bits")));
    }
    Ok(Layout { begin: 0, len: (bytes / 2) as usize, width: Width::U16 })
}

fn is_val(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("val"))
}

/// The tokens of these files, one after the other; of the second list where it is asked for.
fn stored(layouts: &[(&Path, Layout)], vocabulary: usize) -> Result<Tokens, TokensError> {
    let stretch =
        |(path, layout): &(&Path, Layout)| Stretch::open(path, layout.begin, layout.len, layout.width);
    let stretches: Result<_, _> = layouts.iter().map(stretch).collect();
    Ok(Tokens::Stored(Stored::new(stretches?, vocabulary)?))
}

/// All tokens of the files, and the bytes of their text.
pub fn whole(data: &Collection, tokenizer: &Tokenizer) -> Result<(Tokens, usize), DatasetError> {
    let layouts = layouts(data)?;
    let tokens = stored(&layouts, tokenizer.vocab_size())?;
    let bytes = text_bytes(&tokens, tokenizer)?;
    Ok((tokens, bytes))
}

fn layouts(data: &Collection) -> Result<Vec<(&Path, Layout)>, TokensError> {
    data.files.iter().map(|file| Ok((file.path.as_path(), layout(&file.path)?))).collect()
}

/// The tokens of the files to learn from, and those to validate on.
pub fn dataset(data: &Collection, tokenizer: &Tokenizer) -> Result<Dataset, DatasetError> {
    let (mut val, mut train): (Vec<_>, Vec<_>) =
        layouts(data)?.into_iter().partition(|(path, _)| is_val(path));
    let mut held_out = HeldOut::Files;
    if val.is_empty() {
        held_out = HeldOut::LastTenth;
        let all: usize = train.iter().map(|(_, layout)| layout.len).sum();
        let mut left = all * 9 / 10;
        let mut front = Vec::new();
        for (path, whole) in std::mem::take(&mut train) {
            let len = whole.len.min(left);
            left -= len;
            front.push((path, Layout { len, ..whole }));
            let begin = whole.begin + (len * whole.width.bytes()) as u64;
            val.push((path, Layout { begin, len: whole.len - len, ..whole }));
        }
        train = front;
    }
    let vocabulary = tokenizer.vocab_size();
    let [train, val] = [stored(&train, vocabulary)?, stored(&val, vocabulary)?];
    let val_bytes = text_bytes(&val, tokenizer)?;
    Ok(Dataset { name: data.name.clone(), train, val, val_bytes, held_out })
}

/// How long the text of tokens is; a token between documents has none.
fn text_bytes(tokens: &Tokens, tokenizer: &Tokenizer) -> Result<usize, TokensError> {
    let end = tokenizer.end_of_document();
    let length = |id: u32| if Some(id) == end { 0 } else { tokenizer.token_bytes(id).len() };
    let lengths: Vec<usize> = (0..tokenizer.vocab_size() as u32).map(length).collect();
    let mut bytes = 0;
    for at in (0..tokens.len()).step_by(CHUNK) {
        let ids = tokens.read(at, CHUNK.min(tokens.len() - at))?;
        bytes += ids.iter().map(|&id| lengths[id as usize]).sum::<usize>();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::text::documents::Reading;

    fn dataset_of(folder: &Path, data: &str) -> Result<Dataset, DatasetError> {
        let data = folder.join(data).display().to_string();
        let data = Collection::find(&data, &Reading::default(), None, &mut |_, _| {}).unwrap();
        dataset(&data, &Tokenizer::from_name("byte", "").unwrap())
    }

    fn tokens(ids: std::ops::Range<u16>) -> Vec<u8> {
        ids.flat_map(u16::to_le_bytes).collect()
    }

    /// `np.array([20240520, 1, 5], '<i4')`, then zeros up to 256 numbers.
    fn header(count: u32) -> Vec<u8> {
        let mut bytes: Vec<u8> = [20_240_520, 1, count].into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.resize(1024, 0);
        bytes
    }

    #[test]
    fn nanogpt_s_and_llm_c_s_files_hold_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
        write("train.bin", tokens(0..20));
        write("val.bin", tokens(20..30));
        write("c_train_1.bin", [header(5), tokens(0..5)].concat());
        write("c_train_2.bin", [header(15), tokens(5..20)].concat());
        write("c_val_0.bin", [header(10), tokens(20..30)].concat());
        for data in ["*n.bin,{}/val.bin", "c_*.bin"] {
            let data = data.replace("{}", &folder.path().display().to_string());
            let found = dataset_of(folder.path(), &data).unwrap();
            assert!(found.train.all().unwrap().iter().copied().eq(0..20), "{data}");
            assert!(found.val.all().unwrap().iter().copied().eq(20..30), "{data}");
            // A byte each.
            assert_eq!((found.val_bytes, found.held_out), (10, HeldOut::Files));
        }
        for data in ["train.bin", "c_train*"] {
            let found = dataset_of(folder.path(), data).unwrap();
            assert!(found.train.all().unwrap().iter().copied().eq(0..18), "{data}");
            assert!(found.val.all().unwrap().iter().copied().eq(18..20), "{data}");
            assert_eq!((found.val_bytes, found.held_out), (2, HeldOut::LastTenth));
        }
    }

    #[test]
    fn what_is_no_such_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = |bytes: Vec<u8>| {
            fs::write(folder.path().join("t.bin"), bytes).unwrap();
            dataset_of(folder.path(), "t.bin").unwrap_err().to_string()
        };
        assert!(error(vec![0; 7]).contains("no whole tokens"));
        assert!(error([header(5), tokens(0..4)].concat()).contains("5 tokens"));
        let mut other = header(0);
        other[4] = 2;
        assert!(error(other).contains("version 2"));
        assert!(error(tokens(250..300)).contains("tokenizer has 256 tokens"));
    }
}
