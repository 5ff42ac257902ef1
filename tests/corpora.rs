//! Corpora of many files from the command line: the same tokens give the same weights, whichever files they come from;
//! files that are no texts are refused by name; and prepared tokens stay whole after kills and failures.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use flate2::Compression;
use flate2::write::GzEncoder;
use lal::text::tales::Tales;
use predicates::prelude::*;
use predicates::str::contains;
use support::{events, lal, tiny};

const SHAPE: [&str; 8] = ["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--block-size", "16"];

struct Here {
    folder: tempfile::TempDir,
}

impl Here {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn lal(&self, args: &[&str]) -> Command {
        let mut command = lal();
        command.env("LAL_CACHE_DIR", self.path("cache")).args(args);
        command
    }

    fn train(&self, data: &str, run: &str) -> Command {
        let mut command = tiny(&["train"], data, &self.path(run));
        command.env("LAL_CACHE_DIR", self.path("cache")).args(SHAPE);
        command.args(["--tokenizer", "byte", "--steps", "4", "--eval-iters", "2", "--sample-tokens", "0"]);
        command
    }

    fn resume(&self, run: &str, args: &[&str]) -> Command {
        let mut command = self.lal(&["train", "--device", "cpu", "--quiet", "--resume"]);
        command.arg(self.path(run)).args(args);
        command
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("model.safetensors")).unwrap()
    }

    fn prepared(&self) -> Vec<PathBuf> {
        let entries =
            fs::read_dir(self.path("cache/tokens")).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.join("entry.json").exists()).collect()
    }
}

fn documents() -> Vec<String> {
    let tales = Tales::new().corpus(3, 60_000).text;
    tales.split("\n\n").filter(|tale| !tale.is_empty()).map(str::to_owned).collect()
}

fn lines(documents: &[String]) -> String {
    documents.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn equal_tokens_make_equal_weights_wherever_they_are() {
    let here = Here::new();
    let all = documents();
    let one = here.write("one.jsonl", lines(&all));
    for (i, part) in all.chunks(all.len() / 3).enumerate() {
        here.write(&format!("shards/{i}.jsonl.gz"), gzip(&lines(part)));
    }
    here.write("separated.txt", all.join("\n<|endoftext|>\n"));
    here.train(&one, "one").assert().success();
    let [entry] = &here.prepared()[..] else { panic!("{:?}", here.prepared()) };
    // As nanoGPT has them: the files of the cache, under another name.
    fs::create_dir(here.path("nano")).unwrap();
    for name in ["train.bin", "val.bin"] {
        fs::copy(entry.join(name), here.path("nano").join(name)).unwrap();
    }
    let wanted = here.weights("one");
    here.train(&one, "again").assert().success();
    assert!(here.weights("again") == wanted, "from the cache");
    for (data, more) in [
        ("shards", &[][..]),
        ("shards/*.gz", &[]),
        ("separated.txt", &["--document-separator", "<|endoftext|>"]),
        ("nano", &[]),
        ("nano/train.bin,VAL", &[]),
    ] {
        let data = here.path(data).display().to_string();
        let data = data.replace("VAL", &here.path("nano/val.bin").display().to_string());
        here.train(&data, "other").args(more).assert().success();
        assert!(here.weights("other") == wanted, "{data}");
        fs::remove_dir_all(here.path("other")).unwrap();
    }
    // Another order, as another seed, is another model.
    here.train(&one, "epoch").args(["--sampling", "epoch"]).assert().success();
    assert!(here.weights("epoch") != wanted);
    // Of tokens that are no bytes the loss is told per byte too.
    let told = events(here.train(&one, "told").args(["--tokenizer", "gpt2", "--steps", "1"]));
    let eval = told.iter().find(|event| event["event"] == "eval").unwrap();
    assert!(eval["bits_per_byte"].as_f64().unwrap() < eval["val_loss"].as_f64().unwrap());
}

#[test]
fn a_run_goes_on_with_its_data_and_with_no_other() {
    let here = Here::new();
    let all = documents();
    let (front, back) = all.split_at(all.len() / 2);
    let [front, back] = [here.write("in/a.jsonl", lines(front)), here.write("in/b.jsonl", lines(back))];
    for flags in [&[][..], &["--sampling", "epoch"], &["--val-data", &back]] {
        let data =
            if flags.contains(&"--val-data") { front.clone() } else { here.path("in").display().to_string() };
        here.train(&data, "whole")
            .args(flags)
            .args(["--steps", "6", "--schedule", "constant"])
            .assert()
            .success();
        here.train(&data, "run")
            .args(flags)
            .args(["--steps", "3", "--schedule", "constant"])
            .assert()
            .success();
        // Nothing of the cache is needed.
        fs::remove_dir_all(here.path("cache")).unwrap();
        here.resume("run", &["--steps", "6"]).assert().success();
        assert!(here.weights("run") == here.weights("whole"), "{flags:?}");
        let told = here.resume("run", &["--data", &back]).assert().code(2).get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&told).contains("--data is"), "{flags:?}");
        ["whole", "run"].iter().for_each(|run| fs::remove_dir_all(here.path(run)).unwrap());
    }
    let data = here.path("in").display().to_string();
    here.train(&data, "run").assert().success();
    here.resume("run", &["--val-data", &back]).assert().code(2).stderr(contains("--val-data is"));
    here.resume("run", &["--text-key", "body"]).assert().code(2).stderr(contains("--text-key is body"));
    // The same files elsewhere are the same data.
    fs::rename(here.path("in"), here.path("moved")).unwrap();
    here.resume("run", &["--steps", "5"]).assert().code(2).stderr(contains("is gone"));
    let moved = here.path("moved").display().to_string();
    here.resume("run", &["--steps", "5", "--data", &moved]).assert().success();
    here.write("moved/b.jsonl", "{\"text\": \"other\"}\n");
    here.resume("run", &["--steps", "6"]).assert().code(2).stderr(contains("has changed"));
}

#[test]
fn trained_tokenizers_and_published_ones_end_documents() {
    let here = Here::new();
    let data = here.write("one.jsonl", lines(&documents()));
    for tokenizer in ["char", "bpe:300"] {
        here.train(&data, "run").args(["--tokenizer", tokenizer]).assert().success();
        let saved = fs::read_to_string(here.path("run/tokenizer.json")).unwrap();
        assert!(saved.contains("<|end|>"), "{tokenizer}");
        let first = here.weights("run");
        // Learned once.
        here.train(&data, "again").args(["--tokenizer", tokenizer]).assert().success();
        assert!(here.weights("again") == first);
        let init = here.path("run").display().to_string();
        let mut onwards = tiny(&["train"], &data, &here.path("onwards"));
        onwards
            .env("LAL_CACHE_DIR", here.path("cache"))
            .args(["--init", &init, "--steps", "2"])
            .assert()
            .success();
        let mut eval = here.lal(&["eval", "--device", "cpu", "--json", "--model", &init]);
        eval.assert().success().stdout(contains("bits_per_byte"));
        ["run", "again", "onwards"].iter().for_each(|run| fs::remove_dir_all(here.path(run)).unwrap());
    }
}

#[test]
fn what_is_prepared_is_listed_checked_and_removed() {
    let here = Here::new();
    let data = here.write("one.jsonl", lines(&documents()));
    let mut prepare = here.lal(&["data", "prepare", "--tokenizer", "byte", "--data", &data]);
    prepare.assert().success().stdout(contains("training and"));
    here.train(&data, "run").assert().success();
    let [entry] = &here.prepared()[..] else { panic!("{:?}", here.prepared()) };
    let key = entry.file_name().unwrap().to_str().unwrap();
    here.lal(&["data", "list"]).assert().success().stdout(contains(key).and(contains("tinyshakespeare")));
    here.lal(&["data", "check"]).assert().success().stdout(contains("whole"));
    let train = entry.join("train.bin");
    let mut bytes = fs::read(&train).unwrap();
    bytes[7] ^= 1;
    fs::write(&train, bytes).unwrap();
    here.lal(&["data", "check"]).assert().code(1).stdout(contains("train.bin is damaged"));
    here.lal(&["data", "clean", "none"]).assert().code(2).stderr(contains("lal data list"));
    here.lal(&["data", "clean", key]).assert().success().stdout(contains("removed"));
    assert!(here.prepared().is_empty());
    here.lal(&["data", "prepare", "--data", &data]).assert().code(2).stderr(contains("--tokenizer"));
    let short = here.write("short.txt", "To be");
    here.lal(&["data", "prepare", "--tokenizer", "char", "--data", &short]).assert().code(2);
}

#[test]
fn hostile_files_are_named_and_nothing_half_written_is_used() {
    let here = Here::new();
    let all = documents();
    let good = lines(&all);
    let packed = gzip(&good);
    let torn = &packed[..packed.len() / 2];
    let bad = good.replacen("\"text\"", "\"text\u{0}\"", 1);
    for (name, bytes, told) in [
        ("cut.jsonl.gz", torn, "cut.jsonl.gz beyond byte"),
        ("no.jsonl.zst", b"no zstd at all", "no.jsonl.zst"),
        ("bad.jsonl", bad.as_bytes(), "bad.jsonl:1 (byte 0)"),
        ("utf.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n", "utf.jsonl:2: not UTF-8 at byte 24"),
        ("key.jsonl", b"{\"body\": \"a\"}\n", "there is no \"text\" in it, only \"body\": see --text-key"),
        ("odd.bin", b"abc", "no whole tokens"),
    ] {
        let data = here.write(name, bytes);
        let output = here.train(&data, "run").assert().get_output().clone();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)) && error.contains(told), "{name}: {error}");
        assert!(here.prepared().is_empty() && !here.path("run").exists(), "{name}");
    }
    let mixed = here.write("mixed.jsonl", [good.as_bytes(), b"{\"text\": \"\xff\"}\n"].concat());
    here.train(&mixed, "run").assert().code(2);
    here.train(&mixed, "run").arg("--skip-bad-lines").assert().success();
    let pattern = here.path("none-*.txt").display().to_string();
    here.train(&pattern, "other").assert().code(2).stderr(contains("pattern"));
    here.train("", "other").assert().code(2);
    let mut sft = here.lal(&["finetune", "sft", "--data", &mixed, "--text-key", "body", "--model"]);
    sft.arg(here.path("run")).assert().code(2).stderr(contains("--text-key"));
    // A token that the tokenizer does not have.
    let large = here.write("large.bin", [0xff; 2000]);
    here.train(&large, "other").assert().code(2).stderr(contains("the tokenizer has 257 tokens"));
    here.train(&large, "other")
        .args(["--tokenizer", "char"])
        .assert()
        .code(2)
        .stderr(contains("such as gpt2"));
}

/// A limit on the length of a file stands for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_what_there_is_and_is_gone_on_from() {
    let here = Here::new();
    let data = here.write("one.jsonl", lines(&documents()).repeat(8));
    let prepare = |blocks: u32| {
        let program = assert_cmd::cargo::cargo_bin("lal");
        let (program, cache) = (program.display(), here.path("cache"));
        let flags = format!("data prepare --tokenizer byte --data {data} --cache-dir {}", cache.display());
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {flags}");
        std::process::Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let full = prepare(64);
    let error = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(full.status.code() == Some(1) && error.contains("free some space"), "{error}");
    assert!(here.prepared().is_empty());
    assert!(prepare(1 << 20).status.success());
    assert_eq!(here.prepared().len(), 1);
    here.lal(&["data", "check"]).assert().success().stdout(contains("whole"));
}

/// The program is killed at any moment, and begun again until it is done.
#[cfg(unix)]
#[test]
fn killed_and_begun_again_it_makes_the_same_bytes() {
    let here = Here::new();
    let text = lines(&documents());
    for i in 0..6 {
        here.write(&format!("in/{i}.jsonl"), text.repeat(10 + i));
    }
    let data = here.path("in").display().to_string();
    let prepare = |cache: &Path| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("lal"));
        command.args([
            "data",
            "prepare",
            "--quiet",
            "--tokenizer",
            "bpe:300",
            "--data",
            &data,
            "--cache-dir",
        ]);
        command.arg(cache).stdout(std::process::Stdio::null());
        command
    };
    let begun = std::time::Instant::now();
    assert!(prepare(&here.path("whole")).status().unwrap().success());
    let whole = begun.elapsed();
    let killed = here.path("killed");
    for part in 1..8 {
        let mut child = prepare(&killed).spawn().unwrap();
        std::thread::sleep(whole * part / 10);
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(prepare(&killed).status().unwrap().success());
    let files = |cache: &Path| -> Vec<Vec<u8>> {
        let tokens = cache.join("tokens");
        let mut entries: Vec<_> = fs::read_dir(&tokens).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.retain(|path| path.join("entry.json").exists());
        let names = ["train.bin", "val.bin", "entry.json", "tokenizer.json"];
        names.iter().map(|name| fs::read(entries[0].join(name)).unwrap()).collect()
    };
    assert!(files(&killed) == files(&here.path("whole")));
}
