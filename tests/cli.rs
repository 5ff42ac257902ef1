//! The programs as a person meets them: what they print, how they exit, and what bad input gets.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn program(name: &str) -> Command {
    let mut command = Command::cargo_bin(name).expect("the program is built with the tests");
    // Nothing of the person running the tests may leak into them.
    for variable in ["LAL_DEVICE", "LAL_PRESET", "LAL_DATA", "LAL_DATA_DIR", "LAL_OUT", "LAL_CONFIG"] {
        command.env_remove(variable);
    }
    command
}

/// A tiny run on the CPU: seconds, not minutes.
fn train(out: &Path) -> Command {
    let mut command = program("train");
    command.args(["--device", "cpu", "--data", "tales", "--n-layer", "2", "--n-head", "2", "--n-embd", "16"]);
    command.args(["--block-size", "16", "--batch-size", "4", "--warmup-steps", "2", "--eval-every", "10"]);
    command.args(["--save-every", "10", "--steps", "20", "--sample-tokens", "20", "--quiet", "--out"]);
    command.arg(out);
    command
}

fn events(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text_file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn a_run_tells_what_it_does_and_leaves_a_folder_that_sample_reads() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = train(&out).arg("--json").assert().success().get_output().stdout.clone();
    let events = events(&output);
    let names: Vec<_> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("start", "done"));
    assert_eq!(names.iter().filter(|n| **n == "step").count(), 20);
    assert_eq!(names.iter().filter(|n| **n == "eval").count(), 2);
    for key in ["device", "adapter", "parameters", "vocab_size", "train_tokens", "val_tokens"] {
        assert!(!events[0][key].is_null(), "start has no {key}");
    }
    for key in ["step", "loss", "learning_rate", "grad_norm", "ms"] {
        assert!(events[1][key].is_number(), "step has no {key}");
    }
    for key in ["val_loss", "best_val_loss", "median_step_ms", "tokens_per_second"] {
        assert!(events.last().unwrap()[key].is_number(), "done has no {key}");
    }
    for file in
        ["config.toml", "metrics.jsonl", "loss.svg", "samples.txt", "model.safetensors", "config.json"]
    {
        assert!(fs::metadata(out.join(file)).unwrap().len() > 0, "{file}");
    }

    let sample = |seed: &str| {
        let mut command = program("sample");
        command.args([
            "--device",
            "cpu",
            "--max-tokens",
            "40",
            "--num-samples",
            "2",
            "--json",
            "--seed",
            seed,
        ]);
        command.args(["--prompt", "The ", "--model"]).arg(&out);
        command.assert().success().get_output().stdout.clone()
    };
    let first = self::events(&sample("1"));
    assert_eq!(first.len(), 3);
    assert!(first[0]["text"].as_str().unwrap().starts_with("The "));
    assert_ne!(first[0]["text"], first[1]["text"]);
    assert_eq!(first[0]["text"], self::events(&sample("1"))[0]["text"]);
    assert_ne!(first[0]["text"], self::events(&sample("2"))[0]["text"]);
}

#[test]
fn explain_shows_probabilities_that_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&out).assert().success();
    let mut command = program("sample");
    command.args(["--device", "cpu", "--max-tokens", "5", "--explain", "--json", "--top-k", "5", "--model"]);
    let output = command.arg(&out).assert().success().get_output().stdout.clone();
    let steps: Vec<_> = events(&output).into_iter().filter(|e| e["event"] == "step").collect();
    assert_eq!(steps.len(), 5);
    for step in steps {
        let total: f64 = step["candidates"].as_array().unwrap().iter().map(|c| c[1].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{step}");
    }
}

/// Until a program in the background has begun to train.
fn await_first_step(run: &Path) {
    while !run.join("metrics.jsonl").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_the_step_saves_and_exits_130() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("train"));
    command.args(train(&out).get_args()).args(["--steps", "1000000", "--eval-every", "1000000"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    await_first_step(&out);
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(out.join("state.safetensors").exists());
}

#[test]
fn settings_that_make_no_sense_exit_2_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (flags, message) in [
        (vec!["--preset", "huge"], "mini, char, tiny"),
        (vec!["--n-embd", "10", "--n-head", "3"], "n_embd = 10 is not divisible by n_head = 3"),
        (vec!["--tokenizer", "words"], "words"),
        (vec!["--dropout", "1"], "dropout"),
        (vec!["--learning-rate", "fast"], "fast"),
        (vec!["--device", "no such adapter"], "no such adapter"),
        (vec!["--data", "/no/such/file.txt"], "/no/such/file.txt"),
        (vec!["--config", "/no/such/config.toml"], "/no/such/config.toml"),
    ] {
        let name = flags.join(" ");
        let result = train(&out).args(&flags).assert();
        let output = result.get_output();
        let error = String::from_utf8_lossy(&output.stderr);
        // Without any adapter at all an unknown one is a missing one.
        let expected: &[i32] = if flags[0] == "--device" { &[2, 3] } else { &[2] };
        assert!(expected.contains(&output.status.code().unwrap()), "{name}: {error}");
        assert!(error.contains(message) || output.status.code() == Some(3), "{name}: {error}");
        assert!(!out.exists(), "{name} left a folder behind");
    }
}

#[test]
fn texts_that_cannot_be_learned_from_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = text_file(folder.path(), "empty.txt", "");
    let short = text_file(folder.path(), "short.txt", "To be, or not to be");
    let letter = text_file(folder.path(), "letter.txt", "a");
    let binary = text_file(folder.path(), "binary.txt", [b'a', 0xff, 0xfe]);
    for (data, message) in
        [(&empty, "empty"), (&short, "short.txt"), (&letter, "at least 650 tokens\n"), (&binary, "UTF-8")]
    {
        let out = folder.path().join("run");
        let mut command = program("train");
        command.args(["--device", "cpu", "--steps", "1", "--data", data, "--out"]).arg(&out);
        command.assert().code(2).stderr(contains(message).and(contains(data.as_str())));
    }
}

#[test]
fn damaged_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&out).assert().success();
    let sample = || {
        let mut command = program("sample");
        command.args(["--device", "cpu", "--max-tokens", "1", "--model"]).arg(&out);
        command
    };
    sample().args(["--prompt", "The ☃"]).assert().code(2).stderr(contains("☃"));
    sample().args(["--top-p", "1.5"]).assert().code(2).stderr(contains("top-p"));
    sample().args(["--temperature", "-1"]).assert().code(2);

    let model = out.join("model.safetensors");
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..bytes.len() - 100]).unwrap();
    sample().assert().code(1).stderr(contains("cut short").and(contains("model.safetensors")));
    fs::write(&model, &bytes).unwrap();

    let config = fs::read_to_string(out.join("config.json")).unwrap();
    fs::write(out.join("config.json"), config.replace("\"n_layer\": 2", "\"n_layer\": 3")).unwrap();
    sample().assert().code(1).stderr(contains("transformer.h.2"));
    fs::write(out.join("config.json"), &config).unwrap();

    let tokenizer = fs::read_to_string(out.join("tokenizer.json")).unwrap();
    let other = folder.path().join("other");
    let text: String = ('a'..='z').cycle().take(4000).collect();
    let data = text_file(folder.path(), "letters.txt", text);
    let mut letters = program("train");
    letters.args(["--device", "cpu", "--steps", "1", "--quiet", "--sample-tokens", "0", "--data", &data]);
    letters.arg("--out").arg(&other).assert().success();
    fs::copy(other.join("tokenizer.json"), out.join("tokenizer.json")).unwrap();
    sample().assert().code(1).stderr(contains("tokenizer"));
    fs::write(out.join("tokenizer.json"), tokenizer).unwrap();
    sample().assert().success();

    let mut missing = program("sample");
    missing
        .args(["--device", "cpu", "--model", "/no/such/run"])
        .assert()
        .failure()
        .stderr(contains("/no/such/run"));
}

#[test]
fn a_model_larger_than_memory_is_refused_before_it_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    // More memory, then more elements than an index can count.
    for (device, size) in [("cpu", "10000000"), ("gpu", "10000000"), ("gpu", "4000000000")] {
        let mut command = train(&folder.path().join("run"));
        let output = command.args(["--batch-size", size, "--device", device]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        if device == "gpu"
            && output.status.code() == Some(3)
            && std::env::var_os("LAL_ALLOW_NO_GPU").is_some()
        {
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{device} {size}: {error}");
        assert!(error.contains("MiB of memory are needed") && error.contains("--batch-size"), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_with_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&out).assert().success();
    let model = fs::read(out.join("model.safetensors")).unwrap();
    // No file may be longer than this many blocks of 512 bytes: a model is.
    let (program_path, run) = (assert_cmd::cargo::cargo_bin("train"), out.display());
    let flags = "--device cpu --quiet --steps 40 --save-every 5 --resume";
    let script = format!("trap '' XFSZ; ulimit -f 32; exec {} {flags} {run}", program_path.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    // The reason is told once.
    assert!(error.contains("model.safetensors") && error.contains("free some space"), "{error}");
    assert_eq!(error.matches("File too large").count(), 1, "{error}");
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), model);
    let mut resume = program("train");
    resume.args(["--device", "cpu", "--quiet", "--resume"]).arg(&out).assert().success();
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let script = format!("{} ops | head -n 1", assert_cmd::cargo::cargo_bin("lal").display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn lists_are_complete() {
    let output = program("lal").args(["ops", "--json"]).assert().success().get_output().stdout.clone();
    let rows = events(&output);
    assert_eq!(rows.len(), lal::ops::OPS.len() + 1);
    assert!(rows.iter().rev().skip(1).all(|row| !row["variants"].as_array().unwrap().is_empty()));
    program("lal").args(["ops", "nothing"]).assert().code(2).stderr(contains("layer_norm"));
    program("lal").args(["data", "list"]).assert().success().stdout(contains("tinyshakespeare"));
    program("lal").args(["completions", "bash"]).assert().success().stdout(contains("lal"));
}

#[test]
fn profile_prints_a_line_per_kernel_and_writes_its_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, html) = (folder.path().join("t.json"), folder.path().join("r.html"));
    let mut command = program("lal");
    command.args(["profile", "--device", "cpu", "--n-layer", "1", "--batch-size", "2", "--json", "--quiet"]);
    command.arg("--trace").arg(&trace).arg("--html").arg(&html);
    let lines = events(&command.assert().success().get_output().stdout);
    let (done, kernels) = lines.split_last().unwrap();
    for key in ["calls", "us", "gflops", "gbps", "roofline_percent", "share"] {
        assert!(kernels.iter().all(|kernel| kernel[key].is_number()), "a kernel has no {key}");
    }
    assert!(kernels.iter().any(|kernel| kernel["op"] == "matmul" && kernel["variant"] == "twin"));
    assert_eq!(done["event"], "done");
    for key in ["step_us", "median_us", "gpu_us", "host_us"] {
        assert!(done[key].is_number(), "done has no {key}");
    }
    let trace: Value = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > kernels.len());
    assert!(fs::read_to_string(html).unwrap().contains("<svg"));

    program("lal").args(["bench", "--op", "nothing"]).assert().code(2).stderr(contains("there is no op"));
}

#[test]
fn the_tales_world_is_written_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let prepare = |more: &[&str]| {
        let mut command = program("lal");
        command.args(["data", "prepare", out.to_str().unwrap(), "--chars", "20000", "--questions", "50"]);
        command.args(["--held-out", "10"]).args(more).assert()
    };
    let many = ["--questions", "1000000"];
    prepare(&many).code(2).stderr(contains("0 to 100000"));
    prepare(&["--json"]).success().stdout(contains("\"lines\":50").and(contains("\"event\":\"done\"")));
    assert!(fs::read_to_string(out.join("tales.txt")).unwrap().len() >= 20_000);
    let lines = |name: &str| events(&fs::read(out.join(name)).unwrap());
    assert_eq!((lines("sft.jsonl").len(), lines("sft_held_out.jsonl").len()), (50, 10));
    for line in lines("sft.jsonl") {
        assert!(line["prompt"].as_str().unwrap().ends_with('?') && line["known"].is_boolean());
        assert_eq!(line["known"] == false, line["response"] == "I do not know.");
    }
    assert_eq!(lines("demonstrations.jsonl").len(), 50);
    let pairs = [("preferences.jsonl", 50), ("preferences_held_out.jsonl", 10)];
    for (name, count) in pairs {
        assert_eq!(lines(name).len(), count);
        for line in lines(name) {
            assert!(line["prompt"].is_array() && line["chosen"] != line["rejected"], "{line}");
        }
    }
    let constitution = fs::read_to_string(out.join("constitution.toml")).unwrap();
    assert!(constitution.contains("[[principle]]"));
    prepare(&["--longest", "20"]).code(2).stderr(contains("--longest"));
}
