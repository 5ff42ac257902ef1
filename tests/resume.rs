//! What a run keeps when it is continued: every setting and option is taken and kept, or refused by name; and data,
//! base and reward model are known again by their content.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use lal::finetune::config::StageConfig;
use lal::finetune::ppo_options::PpoOptions;
use lal::finetune::stages::Method;
use lal::finetune::stages::constitution::{ConstitutionOptions, Feedback, Judging};
use lal::finetune::stages::dpo::DpoOptions;
use lal::finetune::stages::reward::RewardOptions;
use lal::finetune::stages::sft::SftOptions;
use lal::objective::preference::PreferenceLoss;
use lal::run::presets;
use lal::run::resume::CHANGEABLE;
use predicates::prelude::*;
use predicates::str::contains;
use support::{events, file, lal, tiny};
use toml::{Table, Value};

const SHAPE: [&str; 10] =
    ["--tokenizer", "byte", "--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--block-size", "16"];

/// A text to learn from, and what came of learning from it for a moment.
struct Start {
    folder: tempfile::TempDir,
    run: PathBuf,
}

fn text(folder: &Path, name: &str) -> String {
    file(folder, name, &format!("This is {name}. ").repeat(80))
}

fn start() -> Start {
    let folder = tempfile::tempdir().unwrap();
    let (run, data) = (folder.path().join("run"), text(folder.path(), "own.txt"));
    train(&data, &run).assert().success();
    Start { folder, run }
}

fn train(data: &str, out: &Path) -> Command {
    let mut command = tiny(&["train"], data, out);
    command.args(SHAPE).args([
        "--steps",
        "4",
        "--eval-iters",
        "2",
        "--sample-tokens",
        "3",
        "--position",
        "rope",
    ]);
    command
}

fn resume(verb: &[&str], run: &Path) -> Command {
    let mut command = lal();
    command.args(verb).args(["--device", "cpu", "--quiet", "--resume"]).arg(run);
    command
}

/// All files of a folder, and what they hold.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn table(path: &Path) -> Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Another value than `value` of a key.
fn other(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("preset", _) => "char".into(),
        ("tokenizer", _) => "char".into(),
        ("sampling", _) => "epoch".into(),
        ("text_key", _) => "body".into(),
        ("document_separator", _) => "---".into(),
        ("architecture", _) => "bigram".into(),
        ("position", _) => "learned".into(),
        ("norm", _) => "rms".into(),
        ("norm_place", _) => "post".into(),
        ("feed_forward", _) => "relu".into(),
        ("optimizer", _) => "sgd".into(),
        ("schedule", _) => "constant".into(),
        ("algorithm", _) => "grpo".into(),
        ("loss", _) => "ipo".into(),
        ("feedback", _) => "prefer".into(),
        ("judge", _) => "model".into(),
        // Below the peak.
        ("min_learning_rate", _) => 1e-9.into(),
        (_, Value::Integer(number)) => (number + 1).into(),
        (_, Value::Float(number)) => (number / 2.0 + 0.125).into(),
        (_, Value::Boolean(truth)) => (!truth).into(),
        _ => panic!("say here what another {key} is than {value}"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// That `command` is refused with exit code 2 by a message with all `parts`, and leaves the folder as it was.
fn refused(mut command: Command, run: &Path, parts: &[&str]) {
    let before = files(run);
    let assert = command.assert().code(2);
    let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    assert!(files(run) == before, "{parts:?}: the folder was changed");
}

fn copy(run: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    files(run).iter().for_each(|(name, bytes)| fs::write(to.join(name), bytes).unwrap());
}

#[test]
fn every_setting_is_kept_or_refused_by_name() {
    let start = start();
    let recorded = table(&start.run.join("config.toml"));
    let all: Table = presets::named("mini").unwrap().to_toml().parse().unwrap();
    assert!(recorded.keys().filter(|key| *key != "data").eq(all.keys()), "config.toml lacks settings");
    let copied = start.folder.path().join("copied");
    for (key, value) in recorded.iter().filter(|(key, _)| *key != "data") {
        let asked = other(key, value);
        let variable = format!("LAL_{}", key.to_uppercase());
        if !CHANGEABLE.contains(&key.as_str()) {
            let parts = [&*flag(key), &*plain(&asked), &*plain(value), "start a new run"];
            let mut by_flag = resume(&["train"], &start.run);
            by_flag.args([flag(key), plain(&asked)]);
            refused(by_flag, &start.run, &parts);
            let mut by_variable = resume(&["train"], &start.run);
            by_variable.env(variable, plain(&asked));
            refused(by_variable, &start.run, &parts);
            continue;
        }
        copy(&start.run, &copied);
        resume(&["train"], &copied).args([flag(key), plain(&asked)]).assert().success();
        let kept = table(&copied.join("config.toml"));
        assert_eq!(kept[key], asked, "{key}");
        let changed = |other: &&String| kept[*other] != recorded[*other];
        let more: Vec<&String> = kept.keys().filter(changed).filter(|other| *other != key).collect();
        // A peak has an end of its own.
        let expected: &[&str] = if key == "learning_rate" { &["min_learning_rate"] } else { &[] };
        assert_eq!(more, expected, "{key}");
        resume(&["train"], &copied).assert().success();
        assert_eq!(table(&copied.join("config.toml")), kept, "{key} was forgotten");
    }
    // What says the same is no change.
    let mut same = resume(&["train"], &start.run);
    for (key, value) in &recorded {
        same.args([flag(key), plain(value)]);
    }
    same.assert().success();
    assert_eq!(table(&start.run.join("config.toml")), recorded);
    let mut same = resume(&["train"], &start.run);
    same.args(["--n-kv-head", "2", "--n-inner", "32"]).assert().success();
    assert_eq!(table(&start.run.join("config.toml")), recorded);
}

#[test]
fn help_says_what_may_change() {
    for verb in [&["train"][..], &["finetune", "sft"]] {
        let help = lal().args(verb).arg("--help").assert().success().get_output().stdout.clone();
        let help = String::from_utf8(help).unwrap();
        let resume =
            help.split("Continue the run").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
        assert!(CHANGEABLE.iter().all(|key| resume.contains(&flag(key))), "{resume}");
    }
}

/// What was asked for holds for a run that is stopped before it is done.
#[cfg(unix)]
#[test]
fn steps_asked_for_once_are_not_forgotten() {
    let start = start();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("lal"));
    child.args(resume(&["train"], &start.run).get_args()).args(["--steps", "400000"]);
    let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
    let lines = || fs::read_to_string(start.run.join("metrics.jsonl")).unwrap().lines().count();
    let before = lines();
    while lines() < before + 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(table(&start.run.join("config.toml"))["steps"].as_integer(), Some(400_000));
    let mut fewer = resume(&["train"], &start.run);
    fewer.args(["--steps", "4"]);
    refused(fewer, &start.run, &["--steps 4", "already"]);
}

/// A stage of each kind is continued with each of its options otherwise.
#[test]
fn every_option_of_a_stage_is_refused_by_name() {
    let start = start();
    let (dpo, folder) = (start.folder.path().join("dpo"), start.folder.path());
    let pair = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n";
    let pairs = file(folder, "pairs.jsonl", &pair.repeat(20));
    let mut command = tiny(&["finetune", "dpo"], &pairs, &dpo);
    command.args(["--steps", "4", "--model"]).arg(&start.run).assert().success();

    let form = (PreferenceLoss::Sigmoid, 0.1, 0.0, 0.0);
    let (loss, beta, label_smoothing, sft_weight) = form;
    let constitution = ConstitutionOptions {
        principles: None,
        feedback: Feedback::Revise,
        judge: Judging::Program,
        questions: 20,
        samples: 4,
        beta,
    };
    let reward = "none".into();
    let methods = [
        Method::Sft(SftOptions {}),
        Method::Reward(RewardOptions { sft_weight }),
        Method::Dpo(DpoOptions { loss, beta, label_smoothing, sft_weight }),
        Method::Ppo(PpoOptions { reward: Some(reward), ..PpoOptions::default() }),
        Method::Constitution(constitution),
    ];
    for method in methods {
        let verb = ["finetune", method.name()].map(str::to_owned);
        let again = || resume(&verb.each_ref().map(String::as_str), &dpo);
        let stage = StageConfig { model: start.run.clone(), adapter: None, lora_rank: 0, lora: None, method };
        stage.write(&dpo).unwrap();
        let recorded = table(&dpo.join("finetune.toml"));
        let options = recorded["method"].as_table().unwrap().iter();
        let options = options.filter(|(key, _)| !["kind", "reward"].contains(&key.as_str()));
        for (key, value) in options.chain([(&"lora_rank".to_owned(), &recorded["lora_rank"])]) {
            let asked = other(key, value);
            let mut command = again();
            command.args([flag(key), plain(&asked)]);
            refused(command, &dpo, &[&flag(key), &plain(&asked), &plain(value)]);
            // TOML has no such integer.
            if value.is_integer() {
                let beyond = (1_u64 << 63).to_string();
                let mut command = again();
                command.args([flag(key), beyond.clone()]);
                refused(command, &dpo, &[&flag(key), &beyond]);
                // Nor can a file that has it be compared with what is asked for.
                let path = dpo.join("finetune.toml");
                let text = fs::read_to_string(&path).unwrap();
                let large = text.replace(&format!("\n{key} = {value}\n"), &format!("\n{key} = {beyond}\n"));
                if key != "lora_rank" {
                    assert_ne!(large, text, "{key}");
                    fs::write(&path, large).unwrap();
                    refused(again(), &dpo, &[&beyond]);
                    fs::write(&path, text).unwrap();
                }
            }
        }
        let mut command = again();
        command.args(["--n-head", "1", "--batch-size", "7"]);
        refused(command, &dpo, &["--n-head is 1, not 2", "--batch-size is 7, not 4"]);
        if verb[1] == "constitution" {
            let mut command = again();
            command.args(["--principles", &pairs]);
            refused(command, &dpo, &["--principles", "none"]);
        }
    }
}

#[test]
fn a_stage_keeps_what_may_change_and_knows_its_base_again() {
    let start = start();
    let folder = start.folder.path();
    let chats = file(folder, "chats.jsonl", &"{\"prompt\": \"a\", \"response\": \"b\"}\n".repeat(20));
    let run = folder.join("sft");
    let mut command = tiny(&["finetune", "sft"], &chats, &run);
    command.args(["--steps", "4", "--lora", "1", "--model"]).arg(&start.run).assert().success();
    let origin = table(&run.join("origin.toml"));
    for part in ["data", "model"] {
        assert_eq!(origin[part]["sha256"].as_str().unwrap().len(), 64);
        assert!(Path::new(origin[part]["path"].as_str().unwrap()).is_absolute());
    }
    let again = || resume(&["finetune", "sft"], &run);
    again().args(["--steps", "6", "--lora", "1", "--model"]).arg(&start.run).assert().success();
    again().assert().success();
    assert_eq!(table(&run.join("config.toml"))["steps"].as_integer(), Some(6));

    let other = folder.join("other");
    train(&text(folder, "other.txt"), &other).assert().success();
    let mut command = again();
    command.arg("--model").arg(&other);
    refused(command, &run, &["--model", "other", "start a new run"]);
    // The base moves.
    let moved = folder.join("moved");
    fs::rename(&start.run, &moved).unwrap();
    again().args(["--steps", "8", "--model"]).arg(&moved).assert().success();
    assert_eq!(table(&run.join("finetune.toml"))["model"].as_str(), moved.to_str());
    // Without a checkpoint the base is begun with, and must be what it was.
    fs::remove_file(run.join("state.safetensors")).unwrap();
    fs::copy(other.join("model.safetensors"), moved.join("model.safetensors")).unwrap();
    refused(again(), &run, &["model", "has changed"]);
    fs::remove_dir_all(&moved).unwrap();
    refused(again(), &run, &["model of this run is gone", "--model"]);
}

#[test]
fn data_are_known_again_by_their_content() {
    let start = start();
    let own = start.folder.path().join("own.txt");
    let again = || resume(&["train"], &start.run);
    assert_eq!(table(&start.run.join("config.toml"))["data"].as_str(), own.to_str());
    let other = text(start.folder.path(), "other.txt");
    let mut command = again();
    command.args(["--data", &other]);
    refused(command, &start.run, &["--data", "other.txt", "own.txt", "start a new run"]);
    let copied = start.folder.path().join("copied.txt");
    fs::copy(&own, &copied).unwrap();
    again().arg("--data").arg(&copied).assert().success();
    assert_eq!(table(&start.run.join("config.toml"))["data"].as_str(), copied.to_str());
    fs::remove_file(&own).unwrap();
    again().assert().success();

    let eval = || {
        let mut command = lal();
        command.args(["eval", "--device", "cpu", "--model"]).arg(&start.run);
        command
    };
    let told = events(&mut eval());
    assert_eq!(told[0]["data"].as_str(), copied.to_str(), "a run is measured on what it learned from");
    fs::write(&copied, fs::read_to_string(&copied).unwrap() + "More.").unwrap();
    refused(again(), &start.run, &["copied.txt", "has changed"]);
    refused(eval(), &start.run, &["copied.txt", "has changed"]);
    eval().args(["--data", &other]).assert().success();
    fs::remove_file(&copied).unwrap();
    refused(again(), &start.run, &["the data of this run is gone", "--data"]);
    refused(eval(), &start.run, &["the data of this run is gone", "--data"]);
}

#[test]
fn a_relative_path_holds_wherever_one_is() {
    let folder = tempfile::tempdir().unwrap();
    text(folder.path(), "own.txt");
    let run = folder.path().join("run");
    train("own.txt", &run).current_dir(folder.path()).assert().success();
    resume(&["train"], &run).args(["--steps", "6"]).assert().success();
}

/// As written by a Lal that noted no origin, with a path that was relative.
#[test]
fn an_older_run_goes_on_and_is_noted() {
    let start = start();
    let config = start.run.join("config.toml");
    let mut older = table(&config);
    older.insert("data".into(), "own.txt".into());
    older.remove("conv_kernel");
    fs::write(&config, older.to_string()).unwrap();
    fs::remove_file(start.run.join("origin.toml")).unwrap();
    let mut command = resume(&["train"], &start.run);
    command.args(["--steps", "6"]).current_dir(start.folder.path()).assert().success();
    let origin = table(&start.run.join("origin.toml"));
    assert_eq!(origin["data"]["sha256"].as_str().unwrap().len(), 64);
    resume(&["train"], &start.run).args(["--steps", "8"]).assert().success();
}

/// Without a network the default is Tales, and stays that when a data folder appears. What is in it is no
/// TinyShakespeare, and would be refused by name.
#[test]
fn a_run_begun_offline_stays_on_tales() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let offline = |command: &mut Command| {
        command.env("ALL_PROXY", "http://127.0.0.1:9").env("XDG_CACHE_HOME", folder.path());
    };
    let mut begun = lal();
    begun.args(["train", "--device", "cpu", "--steps", "2", "--eval-iters", "1", "--sample-tokens", "0"]);
    begun.args(SHAPE).arg("--out").arg(&run);
    offline(&mut begun);
    begun.assert().success().stderr(contains("cannot download"));
    assert_eq!(table(&run.join("config.toml"))["data"].as_str(), Some("tales"));
    file(folder.path(), "tinyshakespeare.txt", "To be");
    let mut command = resume(&["train"], &run);
    command.env("LAL_DATA_DIR", folder.path()).args(["--steps", "3"]);
    offline(&mut command);
    command.assert().success();
    let mut command = resume(&["train"], &run);
    command.args(["--data", "tinyshakespeare", "--data-dir"]).arg(folder.path());
    command.assert().code(2).stderr(contains("tinyshakespeare").and(contains("5 bytes")));
}
