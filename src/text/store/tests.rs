use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::text::dataset::Dataset;
use crate::text::documents::Reading;
use crate::text::store::entry::TOKENS;
use crate::text::tales::Tales;
use crate::text::tokenizer::Gpt2;

/// A folder of inputs, and one of tokens.
struct Here {
    folder: tempfile::TempDir,
}

fn gpt2() -> Tokenizer {
    Tokenizer::Gpt2(Gpt2)
}

impl Here {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn store(&self) -> Store {
        Store::new(&self.folder.path().join("cache"))
    }

    fn find(&self, data: &str, reading: &Reading) -> Collection {
        let data = self.folder.path().join("in").join(data).display().to_string();
        Collection::find(&data, reading, Some(&self.store().facts()), &mut |_, _| {}).unwrap()
    }

    fn open(&self, data: &str, reading: &Reading, tokenizer: &Tokenizer) -> Result<Entry, StoreError> {
        let data = self.find(data, reading);
        let hold = if data.is_one_text() { Hold::LastTenth } else { Hold::Documents };
        self.store().open(&data, tokenizer, hold, &mut |_| {})
    }

    fn tokens(&self, data: &str, reading: &Reading, tokenizer: &Tokenizer) -> [Vec<u32>; 2] {
        let dataset = self.open(data, reading, tokenizer).unwrap().dataset("d").unwrap();
        [dataset.train, dataset.val].map(|tokens| tokens.all().unwrap().into_owned())
    }
}

fn line(text: &str) -> String {
    serde_json::json!({ "n": 1, "text": text }).to_string() + "\n"
}

fn documents(n: usize) -> Vec<String> {
    let tales = Tales::new().corpus(5, 400 * n).text;
    tales.split("\n\n").filter(|tale| !tale.is_empty()).take(n).map(str::to_owned).collect()
}

/// One text has the tokens that it has in memory, to the last one, whatever its parts.
#[test]
fn a_text_has_the_same_tokens_from_files_and_in_memory() {
    let here = Here::new();
    let tales = Tales::new().corpus(1, 3_000_000).text;
    // Characters of several bytes before the middle and around it.
    let text = format!("{}{}", "Zoë ate 3 €. ".repeat(200_000), tales);
    here.write("a.txt", &text);
    for name in ["char", "byte", "word", "gpt2", "bpe:300"] {
        let tokenizer = Tokenizer::from_name(name, &text[text.len() - 3_010_000..]).unwrap();
        let memory = Dataset::new("a", &text, &tokenizer).unwrap();
        let entry = here.open("a.txt", &Reading::default(), &tokenizer).unwrap();
        let files = entry.dataset("a").unwrap();
        assert!(files.train.all().unwrap() == memory.train.all().unwrap(), "{name}");
        assert!(files.val.all().unwrap() == memory.val.all().unwrap(), "{name}");
        assert_eq!((files.val_bytes, files.held_out), (memory.val_bytes, memory.held_out), "{name}");
    }
}

/// Each document is made to tokens by itself and followed by <|endoftext|>; where it goes depends on it alone.
#[test]
fn documents_end_and_are_held_out_by_their_hash() {
    let here = Here::new();
    let all = documents(300);
    let mut wanted = [Vec::new(), Vec::new()];
    for text in &all {
        // The first 8 bytes of SHA-256, the highest first.
        let hash = u64::from_be_bytes(*Sha256::digest(text).first_chunk().unwrap());
        let part = &mut wanted[usize::from(hash % 20 == 0)];
        part.extend(gpt2().encode(text).unwrap());
        part.push(50_256);
    }
    assert!(wanted[1].iter().filter(|&&id| id == 50_256).count() > 3);
    here.write("one.jsonl", all.iter().map(|text| line(text)).collect::<String>());
    for (i, part) in all.chunks(70).enumerate() {
        here.write(&format!("shards/{i}.jsonl"), part.iter().map(|text| line(text)).collect::<String>());
    }
    let separated: Vec<String> = all.iter().map(|text| format!("{text}\n<|endoftext|>\n")).collect();
    here.write("separated.txt", separated.concat());
    for (i, text) in all.iter().enumerate() {
        here.write(&format!("texts/{i:03}.txt"), text);
    }
    let reading = Reading { separator: "<|endoftext|>".into(), ..Reading::default() };
    for (data, reading) in [
        ("one.jsonl", &Reading::default()),
        ("shards", &Reading::default()),
        ("shards/*.jsonl", &Reading::default()),
        ("separated.txt", &reading),
        ("texts", &Reading::default()),
    ] {
        assert!(here.tokens(data, reading, &gpt2()) == wanted, "{data}");
    }
    let entry = here.open("one.jsonl", &Reading::default(), &gpt2()).unwrap();
    let [train, val] = [entry.description.train, entry.description.val];
    assert_eq!(train.documents + val.documents, 300);
    assert_eq!((train.bytes + val.bytes) as usize, all.iter().map(String::len).sum::<usize>());
    // Both are nanoGPT's: numbers of 16 bits, the lower byte first.
    let bytes = fs::read(entry.folder.join(TOKENS[1])).unwrap();
    assert_eq!(bytes, wanted[1].iter().flat_map(|&id| (id as u16).to_le_bytes()).collect::<Vec<_>>());
}

/// What is not whole is never used, and is gone on with.
#[test]
fn an_interrupted_entry_has_the_same_bytes_in_the_end() {
    let here = Here::new();
    let all = documents(40);
    for i in 0..3 {
        let copies = (0..40).map(|n| line(&format!("{i}{n} {}", all[n].repeat(80))));
        here.write(&format!("{i}.jsonl"), copies.collect::<String>());
    }
    let reading = Reading::default();
    let data = here.find("*.jsonl", &reading);
    let files = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
    };
    let whole = here.store().open(&data, &gpt2(), Hold::Documents, &mut |_| {}).unwrap();
    let wanted = files(&whole.folder);
    let partial = whole.folder.with_extension(PARTIAL);
    // Interrupted by a panic of the one who gets events, as a kill would: at every event that there is.
    let mut events = 0;
    for at in 0.. {
        fs::remove_dir_all(&whole.folder).unwrap();
        let mut told = 0;
        let mut opened = || {
            here.store().open(&data, &gpt2(), Hold::Documents, &mut |_| {
                told += 1;
                assert!(told <= at, "stopped");
            })
        };
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut opened)).is_err();
        assert_eq!(Entry::open(&whole.folder).is_none(), stopped);
        assert_eq!(partial.exists(), stopped);
        here.store().open(&data, &gpt2(), Hold::Documents, &mut |_| {}).unwrap();
        assert!(files(&whole.folder) == wanted, "after {at} events");
        if !stopped {
            break;
        }
        events += 1;
    }
    assert!(events >= 3, "{events}");
}

#[test]
fn a_key_changes_with_all_that_changes_tokens() {
    let here = Here::new();
    here.write("a.jsonl", line("one").repeat(30) + &line("two"));
    here.write("b.jsonl", line("three"));
    let reading = Reading::default();
    let key_of = |data: &str, reading: &Reading, tokenizer: &Tokenizer, hold| {
        key(&here.find(data, reading), tokenizer, hold)
    };
    let byte = Tokenizer::from_name("byte", "").unwrap();
    let other = Reading { text_key: "n".into(), ..reading.clone() };
    let skipping = Reading { skip_bad_lines: true, ..reading.clone() };
    let mut keys = vec![
        key_of("a.jsonl", &reading, &gpt2(), Hold::Documents),
        key_of("b.jsonl", &reading, &gpt2(), Hold::Documents),
        key_of("*.jsonl", &reading, &gpt2(), Hold::Documents),
        key_of("a.jsonl", &other, &gpt2(), Hold::Documents),
        key_of("a.jsonl", &skipping, &gpt2(), Hold::Documents),
        key_of("a.jsonl", &reading, &gpt2(), Hold::Nothing),
        key_of("a.jsonl", &reading, &byte, Hold::Documents),
        key_of("a.jsonl", &reading, &byte.with_end_of_document(), Hold::Documents),
    ];
    let same = here.write("copy/a.jsonl", fs::read(here.folder.path().join("in/a.jsonl")).unwrap());
    assert!(same.exists());
    assert_eq!(key_of("copy", &reading, &gpt2(), Hold::Documents), keys[0]);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 8);
}

#[test]
fn damage_is_noticed_and_removed() {
    let here = Here::new();
    here.write("a.jsonl", documents(60).iter().map(|text| line(text)).collect::<String>());
    let (reading, store) = (Reading::default(), here.store());
    let entry = here.open("a.jsonl", &reading, &gpt2()).unwrap();
    assert!(entry.damaged().is_none());
    let train = entry.folder.join(TOKENS[0]);
    let good = fs::read(&train).unwrap();
    let mut bad = good.clone();
    bad[10] ^= 1;
    fs::write(&train, bad).unwrap();
    assert_eq!(entry.damaged(), Some(train.clone()));
    // A shortened one is none at all, and made anew.
    fs::write(&train, &good[..100]).unwrap();
    assert!(matches!(store.items()[..], [Item::Damaged(_)]));
    here.open("a.jsonl", &reading, &gpt2()).unwrap();
    assert_eq!(fs::read(&train).unwrap(), good);
    let items = store.items();
    assert!(matches!(items[..], [Item::Whole(_)]));
    assert!(store.remove(&items[0]).unwrap() && store.items().is_empty());
}

/// Both get the same; the second waits for the first or finds it done.
#[test]
fn two_at_once_make_one_entry() {
    let here = Here::new();
    here.write("a.jsonl", documents(200).iter().map(|text| line(text)).collect::<String>().repeat(8));
    let data = here.find("a.jsonl", &Reading::default());
    let entries: Vec<Entry> = std::thread::scope(|scope| {
        let open = || here.store().open(&data, &gpt2(), Hold::Documents, &mut |_| {}).unwrap();
        let running: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(entries.iter().all(|entry| entry.description == entries[0].description));
    assert!(entries[0].damaged().is_none() && here.store().items().len() == 1);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_left_to_use() {
    let here = Here::new();
    here.write("a/1.jsonl", line("fine"));
    here.write("a/2.jsonl", [line("fine").as_bytes(), b"{\"text\": \"\xff\"}\n"].concat());
    let error = here.open("a", &Reading::default(), &gpt2()).unwrap_err().to_string();
    assert!(error.contains("2.jsonl:2: not UTF-8 at byte"), "{error}");
    assert!(!here.store().items().iter().any(|item| matches!(item, Item::Whole(_))));
    let skipping = Reading { skip_bad_lines: true, ..Reading::default() };
    assert_eq!(here.open("a", &skipping, &gpt2()).unwrap().description.skipped_lines, 1);
    here.write("none.jsonl", "\n\n");
    let error = here.open("none.jsonl", &Reading::default(), &gpt2()).unwrap_err().to_string();
    assert!(error.contains("has no text"), "{error}");
    here.write("known.jsonl", line("abc"));
    here.write("other.jsonl", line("abd"));
    let data = here.find("known.jsonl", &Reading::default());
    let char = Tokenizer::learn("char", data.texts(1.0).map(|text| text.map_err(StoreError::from))).unwrap();
    let error = here.open("other.jsonl", &Reading::default(), &char).unwrap_err().to_string();
    assert!(error.contains("other.jsonl:1") && error.contains("'d'"), "{error}");
}
