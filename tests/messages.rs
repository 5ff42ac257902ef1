//! What the programs say, and whether it helps.

mod support;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::{base, events, file, lal, tiny};

const SHAPE: [&str; 8] = ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "16"];

fn sft(base: &Path, data: &str, out: &Path) -> Command {
    let mut command = tiny(&["finetune", "sft"], data, out);
    command.arg("--model").arg(base).args(["--steps", "2", "--eval-iters", "1"]);
    command
}

/// The last line that a run prints is a command that works.
#[test]
fn the_suggestion_after_a_run_works_for_any_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let data = file(folder.path(), "dna.txt", &"GATTACACATTAG".repeat(100));
    let run = folder.path().join("my run");
    let mut train = tiny(&["train"], &data, &run);
    let told = train.args(SHAPE).assert().success().get_output().stdout.clone();
    let told = String::from_utf8(told).unwrap();
    let command = told.lines().last().unwrap().strip_prefix("next: ").unwrap();
    let program = assert_cmd::cargo::cargo_bin("lal");
    let script = format!("{} {command} --device cpu --max-tokens 30", program.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.len() == 32 && text.trim_end().chars().all(|c| "ACGT".contains(c)), "{text:?}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let marked = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, format!("\u{feff}{text}")).unwrap();
    };
    marked(Path::new(&chats));
    let run = folder.path().join("run");
    sft(&base, &chats, &run).assert().success();
    let settings = run.join("config.toml");
    for name in ["config.json", "config.toml", "tokenizer.json", "finetune.toml"] {
        marked(&run.join(name));
    }
    let sample = ["sample", "--device", "cpu", "--max-tokens", "3", "--model"];
    lal().args(sample).arg(&run).assert().success();
    let resume = ["finetune", "sft", "--device", "cpu", "--quiet", "--steps", "3", "--resume"];
    lal().args(resume).arg(&run).assert().success();

    let data = file(folder.path(), "text.txt", &format!("\u{feff}{}", "abcd".repeat(400)));
    let plain = folder.path().join("plain");
    let mut train = tiny(&["train"], &data, &plain);
    train.arg("--config").arg(&settings).args(["--tokenizer", "char", "--preset", "mini"]);
    assert_eq!(events(&mut train)[0]["vocab_size"], 4);
}

#[test]
fn conversations_of_every_form_are_learned_from_and_too_few_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (base, _) = base(folder.path());
    let ways: [fn(usize) -> String; 4] = [
        |i| format!(r#"{{"instruction": "Say {i}!", "input": "", "output": "It is {i}."}}"#),
        |i| {
            format!(
                r#"{{"conversations": [{{"from": "human", "value": "{i}?"}}, {{"from": "gpt", "value": "{i}."}}]}}"#
            )
        },
        |i| {
            format!(
                r#"{{"messages": [{{"role": "user", "content": [{{"type": "text", "text": "{i}?"}}]}}, {{"role": "assistant", "content": "{i}."}}]}}"#
            )
        },
        |i| {
            format!(
                r#"{{"prompt": [{{"role": "user", "content": "{i}?"}}], "completion": [{{"role": "assistant", "content": "{i}."}}]}}"#
            )
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let lines = |count| (0..count).map(|i| way(i) + "\n").collect::<String>();
        let data = file(folder.path(), "chats.jsonl", &lines(10));
        sft(&base, &data, &folder.path().join(number.to_string())).assert().success();
        let data = file(folder.path(), "nine.jsonl", &lines(9));
        let refused = sft(&base, &data, &folder.path().join("none")).assert().code(2);
        refused.stderr(contains("too few conversations: 9, and 10 or more are needed"));
    }
    let data = file(folder.path(), "other.jsonl", "{\"text\": \"a\"}\n");
    let refused = sft(&base, &data, &folder.path().join("none")).assert().code(2);
    refused.stderr(contains(r#"{"messages": [{"role": "user", "content": "Hi?"}, {"#));
    let pair = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n";
    let data = file(folder.path(), "pairs.jsonl", &pair.repeat(9));
    let mut dpo = tiny(&["finetune", "dpo"], &data, &folder.path().join("none"));
    dpo.arg("--model").arg(&base).assert().code(2).stderr(contains("too few pairs: 9, and 10 or more"));
}

#[test]
fn advice_is_such_as_can_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (base, _) = base(folder.path());
    let short = file(folder.path(), "short.txt", "To be, or not to be: that is the question.");
    let eval = |data: &str| {
        let mut command = lal();
        command.args(["eval", "--device", "cpu", "--data", data, "--model"]).arg(&base).assert().code(2)
    };
    eval(&short).stderr(contains("at least 330 tokens").and(contains("--block-size").not()));
    for verb in ["sample", "chat", "eval"] {
        let mut command = lal();
        command.args([verb, "--device", "cpu", "--temperature", "-1", "--model"]).arg(&base);
        let refused = command.assert().code(2);
        refused.stderr(contains("--temperature -1 is outside its range: 0").and(contains("most likely")));
    }
    // Without a network, where the default text is in no cache.
    let mut train = lal();
    train
        .args(["train", "--device", "cpu", "--steps", "1", "--batch-size", "1", "--eval-iters", "1"])
        .args(SHAPE);
    train
        .env("XDG_CACHE_HOME", folder.path())
        .env("HOME", folder.path())
        .env("HTTPS_PROXY", "http://127.0.0.1:9");
    train.env("https_proxy", "http://127.0.0.1:9").env_remove("NO_PROXY").env_remove("no_proxy");
    let told = train.arg("--out").arg(folder.path().join("offline")).assert().success();
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    let line = told.lines().find(|line| line.contains("tinyshakespeare")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("going on with tales"), "{told}");
}

#[test]
fn resuming_a_finished_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    sft(&base, &chats, &run).assert().success();
    for (verb, steps, run) in [(&["train"][..], 20, &base), (&["finetune", "sft"], 2, &run)] {
        let mut resume = lal();
        resume.args(verb).args(["--device", "cpu", "--quiet", "--resume"]).arg(run);
        let more = format!("--steps {}", 2 * steps);
        resume.assert().success().stdout(contains(format!("all {steps} steps are done")).and(contains(more)));
    }
}

#[test]
fn what_is_missing_or_taken_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let (taken, none) = (base.display().to_string(), folder.path().join("none").display().to_string());
    let refused = |args: &[&str], parts: &[&str]| {
        let assert = lal().args(args).args(["--device", "cpu"]).assert().code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(parts.iter().all(|part| error.contains(part)), "{args:?}: {error}");
    };
    refused(&["train", "--data", "tales", "--steps", "1", "--out", &taken], &["already holds a run"]);
    refused(&["train", "--data", "tales", "--steps", "1", "--out", &chats], &[&chats]);
    refused(&["train", "--resume", &none], &[&none]);
    refused(&["train", "--data", &taken], &[&taken]);
    refused(&["finetune", "sft", "--data", &chats, "--model", &none], &[&none]);
    refused(&["finetune", "sft", "--resume", &none], &[&none]);
    refused(&["sample", "--model", &none], &[&none]);
    refused(&["chat", "--model", &none], &[&none]);
    refused(&["eval", "--data", "tales", "--model", &none], &[&none]);
    refused(&["profile", "--model", &none], &[&none]);
    refused(&["inspect", "logits", "--prompt", "a", "--model", &none], &[&none]);
    fs::remove_file(base.join("model.safetensors")).unwrap();
    refused(&["sample", "--model", &taken], &["model.safetensors"]);
    fs::remove_file(base.join("tokenizer.json")).unwrap();
    refused(&["sample", "--model", &taken], &["tokenizer.json"]);
}

#[test]
fn every_line_of_json_has_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    let started = events(sft(&base, &chats, &run).args(["--lora", "2"])).remove(0);
    assert_eq!(started["run"], run.display().to_string());
    assert_eq!((&started["preset"], &started["steps"]), (&"mini".into(), &2.into()));
    assert_eq!(started["data"], chats);
    // Rank 2 beside the four linear layers of each of two blocks of 16 channels, in + out channels each: 2 · 2 ·
    // ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16)) = 1024.
    assert_eq!(started["trainable_parameters"], 1024);
    assert!(started["parameters"].as_u64().unwrap() > 1024);

    let (model, data) = (run.display().to_string(), folder.path().join("data").display().to_string());
    let mut lines = Vec::new();
    for args in [
        &["ops", "gelu"][..],
        &["data", "list"],
        &["data", "get", "tales"],
        &["data", "prepare", &data, "--chars", "9000", "--questions", "20", "--held-out", "5"],
        &["tokenize", "--tokenizer", "byte", "--text", "a b"],
        &["completions", "bash"],
        &["verify", "--device", "cpu", "--op", "gelu"],
        &["bench", "--device", "cpu", "--op", "gelu"],
        &["profile", "--device", "cpu", "--n-layer", "1", "--batch-size", "2"],
        &["sample", "--device", "cpu", "--max-tokens", "3", "--explain", "--model", &model],
        &["eval", "--device", "cpu", "--data", &chats, "--model", &model],
        &["inspect", "logits", "--device", "cpu", "--prompt", "a b", "--model", &model],
        &["inspect", "attention", "--device", "cpu", "--prompt", "a b", "--model", &model],
        &["inspect", "embeddings", "--word", "a", "--model", &model],
    ] {
        let told = events(lal().args(args));
        let nameless = told.iter().find(|line| !line["event"].is_string());
        assert_eq!(nameless, None, "{args:?}");
        assert_eq!(told.last().unwrap()["event"], "done", "{args:?}");
        lines.push(told);
    }
    let names: Vec<&Value> = lines[1].iter().map(|line| &line["name"]).collect();
    assert!(
        ["tinyshakespeare", "tales"].iter().all(|name| names.contains(&&Value::from(*name))),
        "{names:?}"
    );
    // A space is a space.
    assert_eq!(lines[11].last().unwrap()["tokens"], serde_json::json!(["a", " ", "b"]));
    assert_eq!(lines[12].last().unwrap()["tokens"], serde_json::json!(["a", " ", "b"]));
    if let Ok(output) = lal().args(["devices", "--json"]).output()
        && output.status.success()
    {
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| line.contains("\"event\":")), "{text}");
    }
}

/// What a run suggests when it ends works, whatever its vocabulary.
#[test]
fn suggestions_can_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let letters = file(folder.path(), "letters.txt", &"abcd efgh ijkl\n".repeat(100));
    let shape = ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "8"];
    for (flags, verb) in
        [(&["--causal", "false"][..], "attention"), (&["--preset", "skipgram"], "embeddings")]
    {
        let out = folder.path().join(verb);
        let mut train = tiny(&["train"], &letters, &out);
        let assert = train.args(shape).args(["--steps", "2"]).args(flags).assert().success();
        let said = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        let next = said.lines().last().unwrap().strip_prefix("next: lal ").unwrap();
        assert!(next.starts_with(&format!("inspect {verb} ")), "{said}");
        let arguments: Vec<_> = next.split(' ').collect();
        let mut command = lal();
        command.args(&arguments).env("LAL_DEVICE", "cpu").assert().success();
    }
}
