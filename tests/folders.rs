//! Folders of runs that died, that are in use, that were damaged, or that come from a stranger.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use support::{file, lal, tiny};

const SHAPE: [&str; 12] = [
    "--tokenizer",
    "byte",
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--n-embd",
    "8",
    "--block-size",
    "16",
    "--position",
    "rope",
];

fn text(folder: &Path) -> String {
    file(folder, "own.txt", &"All that glisters is not gold. ".repeat(40))
}

fn train(folder: &Path, out: &Path) -> Command {
    let mut command = tiny(&["train"], &text(folder), out);
    command.args(SHAPE).args(["--steps", "6", "--save-every", "4", "--eval-every", "3", "--eval-iters", "2"]);
    command
}

fn sft(folder: &Path, base: &Path, out: &Path) -> Command {
    let line = |i| format!("{{\"prompt\": \"{i}\", \"response\": \"{i}\"}}\n");
    let data = file(folder, "chats.jsonl", &(0..20).map(line).collect::<String>());
    let mut command = tiny(&["finetune", "sft"], &data, out);
    command.args(["--steps", "6", "--lora", "2", "--eval-iters", "2", "--model"]).arg(base);
    command
}

fn resume(verb: &[&str], run: &Path) -> Command {
    let mut command = lal();
    command.args(verb).args(["--device", "cpu", "--resume"]).arg(run);
    command
}

/// A command in the background, once it is at work in `run`.
fn at_work(command: &Command, run: &Path) -> Child {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("lal"));
    child.args(command.get_args()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = child.spawn().unwrap();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |found| found.len()) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Before its first checkpoint a folder holds all that describes a run, and perhaps its first lines.
#[test]
fn a_run_that_died_before_its_first_checkpoint_goes_on_from_its_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(name));
    train(folder.path(), &base).assert().success();
    sft(folder.path(), &base, &tuned).assert().success();
    for (verb, run) in [(&["train"][..], &base), (&["finetune", "sft"], &tuned)] {
        let read = |name: &str| fs::read(run.join(name)).unwrap();
        let whole = ["model.safetensors", "state.safetensors", "samples.txt"].map(|name| (name, read(name)));
        let lines = String::from_utf8(read("metrics.jsonl")).unwrap().lines().count();
        fs::remove_file(run.join("state.safetensors")).unwrap();
        if verb == ["train"] {
            fs::remove_file(run.join("model.safetensors")).unwrap();
        }
        resume(verb, run).assert().success();
        assert!(whole.iter().all(|(name, bytes)| read(name) == *bytes), "{verb:?}");
        assert_eq!(String::from_utf8(read("metrics.jsonl")).unwrap().lines().count(), lines);
    }
}

#[test]
fn a_folder_that_died_before_it_was_a_run_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let [run, whole] = ["run", "whole"].map(|name| folder.path().join(name));
    train(folder.path(), &whole).assert().success();
    sft(folder.path(), &whole, &run).assert().success();
    // What is written before config.toml.
    for entry in fs::read_dir(&run).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !["finetune.toml", "origin.toml", "tokenizer.json", "config.json"].contains(&&*name) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::write(run.join("config.toml.partial"), "st").unwrap();
    resume(&["finetune", "sft"], &run).assert().code(2).stderr(contains("config.toml is missing"));
    train(folder.path(), &run).assert().success();
    let names = |run: &Path| {
        let mut names: Vec<_> = fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&run), names(&whole));
    let model = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(model(&run) == model(&whole));
}

#[test]
fn a_second_process_is_refused_by_the_first_ones_id() {
    let folder = tempfile::tempdir().unwrap();
    let [base, long, tuned] = ["base", "long", "tuned"].map(|name| folder.path().join(name));
    train(folder.path(), &base).assert().success();
    let mut training = train(folder.path(), &long);
    training.args(["--steps", "10000000"]);
    let mut tuning = sft(folder.path(), &base, &tuned);
    tuning.args(["--steps", "10000000"]);
    for (command, verb, run) in [(training, &["train"][..], &long), (tuning, &["finetune", "sft"], &tuned)] {
        let mut child = at_work(&command, run);
        let refused = contains("is in use by").and(contains(child.id().to_string()));
        resume(verb, run).assert().code(2).stderr(refused);
        let _ = child.kill();
        child.wait().unwrap();
        // The lock died with its process.
        let steps = fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count().to_string();
        resume(verb, run).args(["--steps", &steps]).assert().success();
        assert!(cfg!(not(unix)) || !run.join("run.lock").exists());
    }
}

#[test]
fn damage_to_what_is_only_looked_at_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(folder.path(), &run).assert().success();
    let spoil = |name: &str, with: &[u8]| {
        let mut bytes = fs::read(run.join(name)).unwrap_or_default();
        bytes.splice(5..5, with.iter().copied());
        fs::write(run.join(name), bytes).unwrap();
    };
    spoil("metrics.jsonl", b"\xff\n\0\0\0\n");
    spoil("samples.txt", b"\xc3");
    fs::write(run.join("tuning.json"), "{\"half").unwrap();
    let remarks = contains("metrics.jsonl was damaged").and(contains("samples.txt was damaged"));
    let remarks = remarks.and(contains("tuning.json was damaged"));
    resume(&["train"], &run).args(["--steps", "8"]).assert().success().stderr(remarks);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(metrics.lines().last().unwrap().contains("\"step\":8"));
    fs::read_to_string(run.join("samples.txt")).unwrap();
}

/// A stranger's archive: each of its files lies outside and is linked to, as is what a save writes first.
#[cfg(unix)]
#[test]
fn a_strangers_folder_is_written_to_only_inside() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(name));
    train(folder.path(), &base).assert().success();
    sft(folder.path(), &base, &tuned).assert().success();
    for (verb, run) in [(&["train"][..], &base), (&["finetune", "sft"], &tuned)] {
        let outside = folder.path().join(format!("outside of {}", verb.len()));
        fs::create_dir(&outside).unwrap();
        let names: Vec<_> = fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name()).collect();
        let precious = outside.join("precious");
        fs::write(&precious, "mine").unwrap();
        for name in &names {
            let (own, there) = (run.join(name), outside.join(name));
            fs::rename(&own, &there).unwrap();
            if name == "metrics.jsonl" {
                fs::hard_link(&there, &own).unwrap();
            } else {
                symlink(&there, &own).unwrap();
            }
            let partial = format!("{}.partial", own.display());
            symlink(&precious, partial).unwrap();
        }
        symlink(&precious, run.join("run.lock")).unwrap();
        symlink(outside.join("new"), run.join("tuning.json.partial")).unwrap();
        let before: Vec<_> = names.iter().map(|name| fs::read(outside.join(name)).unwrap()).collect();
        resume(verb, run).args(["--steps", "12"]).assert().success();
        let after: Vec<_> = names.iter().map(|name| fs::read(outside.join(name)).unwrap()).collect();
        assert!(before == after && fs::read(&precious).unwrap() == b"mine");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), names.len() + 1);
        // What was written is the run's own now, and what was only read is where it was.
        for name in
            ["config.toml", "origin.toml", "metrics.jsonl", "samples.txt", "model.safetensors", "loss.svg"]
        {
            let found = fs::symlink_metadata(run.join(name)).unwrap();
            assert!(found.is_file() && found.nlink() == 1, "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn all_files_of_a_run_have_one_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let command = train(folder.path(), &run);
    let quoted = command.get_args().map(|arg| format!("'{}'", arg.to_string_lossy())).collect::<Vec<_>>();
    let script =
        format!("umask 027; exec {} {}", assert_cmd::cargo::cargo_bin("lal").display(), quoted.join(" "));
    assert!(std::process::Command::new("sh").args(["-c", &script]).output().unwrap().status.success());
    for entry in fs::read_dir(&run).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640, "{}", entry.path().display());
    }
}
