//! Tiny runs of the command line, for tests of what they print and how they exit.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

pub fn lal() -> Command {
    let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
    // Nothing of the person running the tests may leak into them.
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LAL_")) {
        command.env_remove(variable);
    }
    command
}

/// A tiny run on the CPU: seconds, not minutes.
pub fn tiny(verb: &[&str], data: &str, out: &Path) -> Command {
    let mut command = lal();
    command.args(verb).args([
        "--device",
        "cpu",
        "--batch-size",
        "4",
        "--warmup-steps",
        "2",
        "--eval-every",
        "10",
    ]);
    command.args(["--save-every", "10", "--steps", "20", "--sample-tokens", "20", "--quiet"]);
    command.args(["--data", data, "--out"]).arg(out);
    command
}

/// A model of bytes that was pretrained for a moment, and conversations to teach it.
pub fn base(folder: &Path) -> (PathBuf, String) {
    let out = folder.join("base");
    let shape =
        ["--tokenizer", "byte", "--n-layer", "2", "--n-head", "2", "--n-embd", "16", "--block-size", "32"];
    tiny(&["train"], "tales", &out).args(shape).args(["--position", "rope"]).assert().success();
    let line = |i| format!("{{\"prompt\": \"Say {i}!\", \"response\": \"It is {i}.\"}}\n");
    (out, file(folder, "chats.jsonl", &(0..40).map(line).collect::<String>()))
}

pub fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

pub fn events(command: &mut Command) -> Vec<Value> {
    let output = command.arg("--json").assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
