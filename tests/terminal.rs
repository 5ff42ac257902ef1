//! Readers that go away, signals, and what a terminal is sent.

#![cfg(unix)]

#[path = "support/terminal.rs"]
mod screen;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use screen::{COLUMNS, Shown, on_terminal, start_on_terminal, unguarded};
use serde_json::Value;
use support::{base, events, file, lal, tiny};
use textwrap::core::display_width;

/// A tiny run that says all it has to say.
fn loud(verb: &[&str], data: &str, out: &Path) -> assert_cmd::Command {
    let mut command = lal();
    command.args(verb).args(["--device", "cpu", "--batch-size", "4", "--warmup-steps", "2"]);
    command.args(["--eval-every", "10", "--save-every", "10", "--sample-tokens", "20", "--steps", "20"]);
    command.args(["--data", data, "--out"]).arg(out);
    command
}

const SHAPE: [&str; 8] = ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "16"];

fn steps(run: &Path) -> usize {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics.lines().filter(|line| line.contains("\"event\":\"step\"")).count()
}

/// A line, after which the stream is closed.
fn first_line(stream: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

fn rest(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Ends with success although nobody reads on after a line; gives what was said on the other stream.
#[track_caller]
fn outlasts_its_reader(command: &assert_cmd::Command, of_stderr: bool) -> String {
    let mut child = unguarded(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (line, other) = match of_stderr {
        true => (first_line(stderr), rest(stdout)),
        false => (first_line(stdout), rest(stderr)),
    };
    assert_eq!(child.wait().unwrap().code(), Some(0), "after {line:?}: {other}");
    assert!(!line.is_empty());
    other
}

#[test]
fn a_run_goes_on_when_nobody_reads_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    let said = outlasts_its_reader(loud(&["train"], "tales", &a).args(SHAPE).arg("--json"), false);
    assert!(!said.contains("error") && !said.contains("panicked"), "{said}");
    let said = outlasts_its_reader(loud(&["train"], "tales", &b).args(SHAPE), true);
    assert!(said.contains("trained 20 steps"), "{said}");
    let mut sft = loud(&["finetune", "sft"], &chats, &c);
    let said = outlasts_its_reader(sft.arg("--model").arg(&base).arg("--json"), false);
    assert!(!said.contains("error") && !said.contains("panicked"), "{said}");
    for run in [a, b, c] {
        assert_eq!(steps(&run), 20);
        assert!(run.join("state.safetensors").exists());
    }
}

#[test]
fn closed_and_full_outputs_lose_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let shell = |run: &Path, redirected: &str| {
        let train = unguarded(loud(&["train"], "tales", run).args(SHAPE).arg("--json"));
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("exec \"$@\" {redirected}"), "sh"]).arg(train.get_program());
        sh.args(train.get_args()).output().unwrap()
    };
    for (name, redirected) in [("a", ">&-"), ("b", "2>&-"), ("c", ">&- 2>&- <&-")] {
        let run = folder.path().join(name);
        let output = shell(&run, redirected);
        assert_eq!((output.status.code(), steps(&run)), (Some(0), 20), "{output:?}");
    }
    if !Path::new("/dev/full").exists() {
        return;
    }
    let run = folder.path().join("full");
    let output = shell(&run, ">/dev/full");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), steps(&run)), (Some(1), 20), "{said}");
    assert_eq!(said.matches("standard output").count(), 1, "{said}");
    let run = folder.path().join("silent");
    assert_eq!((shell(&run, "2>/dev/full").status.code(), steps(&run)), (Some(0), 20));
}

#[test]
fn what_only_prints_ends_quietly_and_what_writes_files_writes_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let (base, _) = base(folder.path());
    let mut sample = lal();
    sample.args(["sample", "--device", "cpu", "--max-tokens", "20", "--num-samples", "100000", "--model"]);
    assert_eq!(outlasts_its_reader(sample.arg(&base), false), "");
    let data = folder.path().join("data");
    let mut prepare = lal();
    prepare.args(["data", "prepare", "--chars", "9000", "--questions", "20", "--held-out", "5"]).arg(&data);
    outlasts_its_reader(&prepare, false);
    assert_eq!(fs::read_dir(data).unwrap().count(), 7);
}

/// Until a program in the background has done a step.
fn await_first_step(run: &Path) {
    let begun = Instant::now();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |file| file.len()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step was made");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut train = loud(&["train"], "tales", &run);
    train.args(SHAPE).args(["--steps", "3000", "--eval-every", "100", "--eval-iters", "1"]);
    let (mut child, terminal) = start_on_terminal(&train);
    await_first_step(&run);
    drop(terminal);
    assert_eq!((child.wait().unwrap().code(), steps(&run)), (Some(0), 3000));
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn said(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn endless(run: &Path, more: &[&str]) -> Command {
    let mut train = loud(&["train"], "tales", run);
    train.args(SHAPE).args(["--steps", "1000000", "--eval-every", "1000000"]).args(more);
    let mut command = unguarded(&train);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Whether this process ignores SIGHUP, where Linux says so.
fn hang_ups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn an_ignored_hang_up_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let (deaf, listening) = (folder.path().join("deaf"), folder.path().join("listening"));
    let train = endless(&deaf, &[]);
    let mut child = Command::new("sh");
    child.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(train.get_program()).args(train.get_args());
    let child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    await_first_step(&deaf);
    send(&child, "-HUP");
    let before = steps(&deaf);
    let begun = Instant::now();
    while steps(&deaf) < before + 50 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the hang-up was heard");
        std::thread::sleep(Duration::from_millis(20));
    }
    send(&child, "-TERM");
    assert_eq!(said(child).0, Some(130));

    // Under `nohup` these tests, and all that they start, ignore it too.
    if hang_ups_are_ignored() {
        return;
    }
    let child = endless(&listening, &[]).spawn().unwrap();
    await_first_step(&listening);
    send(&child, "-HUP");
    let (code, said) = said(child);
    assert!(code == Some(130) && said.contains("finished and saved"), "{said}");
    assert!(listening.join("state.safetensors").exists());
}

#[test]
fn a_second_interrupt_says_that_it_does_not_save() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Steps of seconds.
    let child = endless(&run, &["--batch-size", "60000", "--eval-iters", "1"]).spawn().unwrap();
    while !run.join("config.toml").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(200));
    send(&child, "-INT");
    let (code, said) = said(child);
    assert_eq!(code, Some(130), "{said}");
    let parts = ["finished and saved", "without saving", "is not saved"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    assert!(!run.join("state.safetensors").exists());
}

/// A model that knows little but what steers a terminal.
fn steering(folder: &Path) -> PathBuf {
    let run = folder.join("steering");
    let text = "\u{1b}[31m\u{9b}2J\u{202e}\u{7}\t\r\n".repeat(200);
    tiny(&["train"], &file(folder, "steering.txt", &text), &run).args(SHAPE).assert().success();
    run
}

#[track_caller]
fn steers_nothing(shown: &Shown, visible: &[&str]) {
    let text = String::from_utf8(shown.bytes.clone()).unwrap();
    let raw = |c: char| (c.is_control() && !"\r\n\t".contains(c)) || c == '\u{202e}';
    assert!(!text.contains(raw), "{text:?}");
    assert!(visible.iter().all(|part| text.contains(part)), "{text:?}");
}

#[test]
fn a_terminal_is_shown_what_would_steer_it_and_a_pipe_gets_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = steering(folder.path());
    let mut sample = lal();
    sample.args(["sample", "--device", "cpu", "--max-tokens", "200", "--model"]).arg(&run);
    steers_nothing(&on_terminal(&sample), &["␛", "\\u{9b}", "\\u{202e}", "␇", "␍", "\t", "\r\n"]);
    let piped = String::from_utf8(sample.output().unwrap().stdout).unwrap();
    assert!(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}', '\r'].iter().all(|&c| piped.contains(c)), "{piped:?}");

    // JSON stays JSON, with the same values.
    let shown = on_terminal(sample.arg("--json"));
    steers_nothing(&shown, &["\\u009b", "\\u202e", "\\u001b"]);
    let text = String::from_utf8(shown.bytes).unwrap();
    let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(value["text"], piped.strip_suffix('\n').unwrap());

    for (args, code, visible) in [
        (&["sample", "--model", "no\u{1b}[31m\u{202e}such"][..], 2, "no␛[31m\\u{202e}such"),
        (&["sample", "--model", "x", "--prompt", "\u{1b}[2J"], 2, "x"),
        (&["verify", "--op", "\u{9b}2J\u{7}"], 2, "u{9b}"),
        (&["ops", "\u{1b}[2J"], 2, "\\u{1b}"),
        (&["ops", "--\u{9b}2J"], 2, "\\u{9b}2J"),
        (&["train", "--data", "\u{1b}]0;x\u{7}.txt"], 2, "␛]0;x␇.txt"),
    ] {
        let mut command = lal();
        let shown = on_terminal(command.args(args));
        assert_eq!(shown.code, Some(code), "{args:?}");
        steers_nothing(&shown, &[visible]);
    }
}

/// A model of characters that can read questions about tales.
fn reader(folder: &Path) -> PathBuf {
    let run = folder.join("reader");
    let shape = ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "1024"];
    let mut train = tiny(&["train"], "tales", &run);
    train.args(shape).args(["--position", "rope", "--steps", "2", "--eval-iters", "1"]).assert().success();
    run
}

/// Of what a terminal showed in passing nothing is left.
#[track_caller]
fn leaves_no_bar(shown: &Shown) {
    assert_eq!(shown.code, Some(0), "{}", shown.text());
    assert!(shown.was_sent("━") || shown.was_sent("─"), "there was no bar");
    let text = shown.text();
    assert!(!text.contains(['━', '─', '╸']), "{text}");
}

#[test]
fn bars_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let shown = on_terminal(loud(&["train"], "tales", &out("train")).args(SHAPE).args(["--steps", "100"]));
    leaves_no_bar(&shown);
    let evals = shown.lines.iter().filter(|line| line.contains("train ") && line.contains("val ")).count();
    assert_eq!(evals, 10, "{}", shown.text());

    let base = reader(folder.path());
    let mut sft = loud(&["finetune", "sft"], "tales", &out("sft"));
    let shown = on_terminal(sft.arg("--model").arg(&base).args(["--steps", "3", "--lora", "2"]));
    leaves_no_bar(&shown);
    assert!(shown.was_sent("questions answered"), "{}", shown.text());
    let judged = shown.lines.iter().filter(|line| line.contains("held-out questions: ")).count();
    assert_eq!(judged, 2, "{}", shown.text());
    assert!(shown.text().contains("of them trained"), "{}", shown.text());

    let mut grpo = loud(&["finetune", "ppo"], "tales", &out("grpo"));
    grpo.arg("--model").arg(out("sft")).args(["--algorithm", "grpo", "--steps", "2", "--eval-every", "1"]);
    let shown = on_terminal(grpo.args(["--prompts", "2", "--samples", "4", "--max-tokens", "4"]));
    leaves_no_bar(&shown);
    let told =
        |line: &&String| line.starts_with("step ") && line.contains("  reward ") && line.contains("  kl ");
    assert_eq!(shown.lines.iter().filter(told).count(), 2, "{}", shown.text());
    assert!(shown.was_sent("tokens/s"));
}

#[test]
fn tables_fit_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let base = reader(folder.path());
    let lora = folder.path().join("sft");
    let mut sft = loud(&["finetune", "sft"], "tales", &lora);
    sft.arg("--model").arg(&base).args(["--steps", "1", "--quiet"]).assert().success();
    let lora = lora.display().to_string();
    for args in [
        &["ops"][..],
        &["devices"],
        &["profile", "--device", "cpu", "--n-layer", "1", "--batch-size", "2", "--verbose"],
        &["bench", "--device", "cpu", "--op", "gelu"],
        &["verify", "--op", "gelu"],
        &["verify", "--device", "cpu", "--op", "softmax"],
        &["eval", "--device", "cpu", "--data", "tales", "--questions", "20", "--model", &lora],
        &["inspect", "attention", "--device", "cpu", "--prompt", "The tale of", "--model", &lora],
        &["inspect", "logits", "--device", "cpu", "--prompt", "The tale of", "--model", &lora],
    ] {
        let output = lal().args(args).output().unwrap();
        if output.status.code() == Some(3) && std::env::var_os("LAL_ALLOW_NO_GPU").is_some() {
            continue;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.lines().count() > 1, "{args:?}: {text}");
        let wide = text.lines().find(|line| display_width(line) > usize::from(COLUMNS));
        assert_eq!(wide, None, "{args:?}");
    }
    assert!(!events(lal().args(["ops", "gelu"])).is_empty());
}
