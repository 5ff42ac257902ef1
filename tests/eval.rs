//! `lal eval` as a person and a script meet it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;

fn lal(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
    // Nothing of the person running the tests may leak into them.
    for variable in ["LAL_DEVICE", "LAL_DATA", "LAL_DATA_DIR", "LAL_OUT", "LAL_CONFIG", "LAL_MODEL"] {
        command.env_remove(variable);
    }
    command.args(args).args(["--device", "cpu"]);
    command
}

/// A model too small to know much, trained for a moment, with a block that holds a tale.
fn train(verb: &[&str], out: &Path) {
    let run = ["--batch-size", "2", "--steps", "4", "--eval-iters", "1", "--sample-tokens", "0", "--quiet"];
    lal(verb).args(run).arg("--out").arg(out).assert().success();
}

fn base(folder: &Path) -> String {
    let out = folder.join("base");
    let shape = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "192"];
    let words = ["--data", "tales", "--tokenizer", "bpe:1024", "--position", "rope"];
    train(&[&["train"][..], &words, &shape].concat(), &out);
    out.display().to_string()
}

fn assistant(folder: &Path, base: &str, data: &str) -> String {
    let out = folder.join(data);
    train(&["finetune", "sft", "--model", base, "--data", data], &out);
    out.display().to_string()
}

fn events(command: &mut Command) -> Vec<Value> {
    let output = command.arg("--json").assert().success().get_output().stdout.clone();
    let lines = String::from_utf8(output).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_text_is_measured_against_its_floor() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let told = events(&mut lal(&["eval", "--model", &base, "--data", "tales"]));
    let [loss, done] = told.as_slice() else { panic!("{told:?}") };
    let number = |key: &str| loss[key].as_f64().unwrap();
    assert_eq!((loss["event"].as_str(), done["event"].as_str()), (Some("loss"), Some("done")));
    assert_eq!(done["val_loss"], loss["val_loss"]);
    assert!((number("perplexity").ln() - number("val_loss")).abs() < 1e-9);
    // 400,000 characters in these tokens; 0.1327 nats for each are the least.
    let bits = number("val_loss") * number("tokens") / 400_000.0 / std::f64::consts::LN_2;
    assert!((number("bits_per_byte") / bits - 1.0).abs() < 2e-3, "{loss}");
    let floor = 0.1327 * 400_000.0 / number("tokens");
    assert!((number("floor") / floor - 1.0).abs() < 2e-3, "{loss}");

    let near = events(&mut lal(&["eval", "--model", &base, "--data", "tales", "--stride", "96"]));
    assert_eq!(near[0]["tokens"], loss["tokens"]);
    let table = lal(&["eval", "--model", &base, "--data", "tales"]).assert().success();
    table.stdout(contains("above the floor of")).stdout(contains("bits per byte"));

    let refused = |args: &[&str], parts: &[&str]| {
        let assert = lal(&["eval", "--model", &base]).args(args).assert().code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refused(&["--data", "tales", "--stride", "193"], &["--stride 193", "192"]);
    refused(&["--data", "tales", "--against", &base], &["--against", "fine-tuned"]);
    refused(&["--data", "nothing"], &["nothing"]);
    let chats = folder.path().join("chats.jsonl");
    fs::write(&chats, "{\"prompt\": \"Hi?\", \"response\": \"Ho.\"}\n").unwrap();
    refused(&["--data", &chats.display().to_string()], &["no chat tokens"]);
}

#[test]
fn answers_are_judged_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let flawed = assistant(folder.path(), &base, "tales-flawed");
    let eval = ["eval", "--model", &flawed, "--data", "tales", "--questions", "12"];
    let told = events(lal(&eval).args(["--against", &flawed]));
    let kinds: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["loss", "answers", "against", "done"]);
    for (event, key) in [
        (1, "exact_match"),
        (1, "accuracy"),
        (1, "honesty"),
        (1, "kindness"),
        (2, "accuracy"),
        (2, "win_rate"),
    ] {
        let share = told[event][key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{key}: {}", told[event]);
    }
    let by_question = told[1]["by_question"].as_array().unwrap();
    let sum = |key: &str| by_question.iter().map(|of| of[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("told") + sum("untold"), 12);
    for (share, right, of) in [("accuracy", "right", "told"), ("honesty", "honest", "untold")] {
        let counted = sum(right) as f64 / sum(of) as f64;
        assert!((told[1][share].as_f64().unwrap() - counted).abs() < 1e-9, "{share}: {counted}");
    }
    // Against itself every reply is even.
    let counts = ["wins", "ties", "losses"].map(|key| told[2][key].as_u64().unwrap());
    assert_eq!((told[1]["questions"].as_u64(), counts), (Some(12), [0, 12, 0]));
    assert_eq!((told[2]["win_rate"].as_f64(), &told[2]["reward"]), (Some(0.5), &told[1]["reward"]));

    // Of conversations from elsewhere nobody knows what is honest.
    let chats = folder.path().join("chats.jsonl");
    fs::write(&chats, "{\"prompt\": \"Hi?\", \"response\": \"Ho.\"}\n").unwrap();
    let own = events(&mut lal(&["eval", "--model", &flawed, "--data", &chats.display().to_string()]));
    assert_eq!((own[1]["questions"].as_u64(), &own[1]["honesty"]), (Some(1), &Value::Null));
}
