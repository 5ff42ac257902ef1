//! Fine-tuning and chat as a person meets them: what they print, how they exit, and what bad input gets.

mod support;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use lal::engine::device::Device;
use lal::engine::device::cpu::Cpu;
use lal::finetune::scorer::{Head, Scorer};
use lal::models::config::ModelConfig;
use lal::nn::lora::Lora;
use lal::run::tensor_file::{Entry, TensorFile};
use lal::sample::generator::Generator;
use lal::sample::load::{Model, load};
use predicates::str::contains;
use serde_json::Value;
use support::{base, events, file, lal, tiny};

fn sft(base: &Path, data: &str, out: &Path) -> Command {
    let mut command = tiny(&["finetune", "sft"], data, out);
    command.arg("--model").arg(base);
    command
}

fn chat(model: &Path, typed: &str) -> Command {
    let mut command = lal();
    command.args(["chat", "--device", "cpu", "--max-tokens", "20", "--model"]).arg(model);
    command.write_stdin(typed.to_owned());
    command
}

#[test]
fn a_run_leaves_a_model_that_chats() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    let told = events(sft(&base, &chats, &run).args(["--lr", "1e-2", "--steps", "200"]));
    // 256 bytes and three tokens of a chat.
    assert_eq!((told[0]["event"].as_str(), told[0]["vocab_size"].as_u64()), (Some("start"), Some(259)));
    let losses: Vec<f64> = told.iter().filter_map(|event| event["loss"].as_f64()).collect();
    assert!(losses.len() == 200 && losses[199] < 0.3 * losses[0], "{losses:?}");
    assert_eq!(told.last().unwrap()["event"], "done");
    for name in ["config.toml", "finetune.toml", "metrics.jsonl", "loss.svg", "model.safetensors"] {
        assert!(fs::metadata(run.join(name)).unwrap().len() > 0, "{name}");
    }

    let typed = "Say 3!\n\nSay\\\n4!\n/temperature 0\nSay 4!\n/reset\nSay 5!\n";
    let said = chat(&run, typed).assert().success().get_output().stdout.clone();
    assert_eq!(chat(&run, typed).output().unwrap().stdout, said);
    // An answer a line, no prompts: and each ended before it had as many tokens as it may have.
    let said = String::from_utf8(said).unwrap();
    let answers: Vec<&str> = said.lines().collect();
    assert!(answers.len() == 4 && answers.iter().all(|answer| (1..20).contains(&answer.len())), "{said}");
    let told = chat(&run, "/temperature\n/temperature 0.25\n/reset\n/temperature\n").assert().success();
    let told = told.stdout("").get_output().stderr.clone();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("is 0.5\n") && told.ends_with("is 0.25\n"), "{told}");
    assert_eq!(events(&mut chat(&run, "Say 3!\nSay 4!\n")).last().unwrap()["answers"], 2);
}

#[test]
fn a_conversation_is_saved_as_it_can_be_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    sft(&base, &chats, &run).assert().success();
    let own = folder.path().join("own.jsonl");
    let save = format!("/save {}\n", own.display());
    chat(&run, &save).assert().code(2).stderr(contains("nothing was said"));
    // Greedily, and from the same beginning, the answers are the same.
    chat(&run, &format!("Say 1!\n{save}/reset\nSay 1!\n{save}"))
        .args(["--temperature", "0"])
        .assert()
        .success();
    let text = fs::read_to_string(&own).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{text}");
    assert_eq!(lines[0]["messages"][0]["content"], "Say 1!");
    assert_eq!(lines[0]["messages"][1]["role"], "assistant");
}

/// The model of the folder, whose adapters are merged, against its base with the adapters of the checkpoint beside it.
#[test]
fn merged_adapters_give_the_logits_of_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    sft(&base, &chats, &run).args(["--lora", "3", "--lr", "1e-2", "--steps", "60"]).assert().success();

    let mut cpu = Cpu::<f32>::default();
    let Model { config, tokenizer, .. } = load(&mut cpu, &run).unwrap();
    let prompt = tokenizer.encode("Say 7!").unwrap();
    let merged = Generator::new(config.clone()).start(&mut cpu, &prompt).unwrap();

    let mut cpu = Cpu::<f32>::default();
    let adapted = ModelConfig { lora: Lora::of_rank(3), ..config };
    let scorer = Scorer::load(&mut cpu, &adapted, "", Head::Tokens, [1, 8]).unwrap();
    let state = TensorFile::open(&run.join("state.safetensors")).unwrap();
    let (adapters, frozen): (Vec<Entry>, Vec<Entry>) =
        scorer.parameters().iter().cloned().partition(|entry| entry.name.contains("lora_"));
    for entry in adapters.iter().chain(&frozen) {
        cpu.write(&entry.name, &state.read(entry).unwrap()).unwrap();
    }
    let beside = Generator::new(adapted.clone()).start(&mut cpu, &prompt).unwrap();
    for entry in adapters.iter().filter(|entry| entry.name.ends_with("lora_b")) {
        cpu.write(&entry.name, &vec![0.0; entry.shape.len()]).unwrap();
    }
    let without = Generator::new(adapted).start(&mut cpu, &prompt).unwrap();
    let apart = |logits: &[f32]| {
        let apart = merged.iter().zip(logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        apart / merged.iter().fold(0.0, |most: f32, x| most.max(x.abs()))
    };
    assert!(adapters.len() >= 8 && apart(&beside) < 1e-5, "{} from the adapters' logits", apart(&beside));
    assert!(apart(&without) > 1e-2, "{}: the adapters learned nothing", apart(&without));
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_the_step_saves_and_exits_130() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("lal"));
    command.args(sft(&base, &chats, &run).get_args()).args(["--steps", "1000000", "--eval-every", "1000000"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    while !run.join("metrics.jsonl").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(run.join("state.safetensors").exists());
}

#[test]
fn bad_conversations_are_named_before_training_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    let good = fs::read_to_string(&chats).unwrap();
    let refused = |data: &str, parts: &[&str]| {
        let assert = sft(&base, data, &run).assert().code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!run.exists(), "{data}");
    };
    let long = format!("{good}{{\"prompt\": \"{}\", \"response\": \"b\"}}\n", "a".repeat(40));
    for (text, parts) in [
        ("", &["bad.jsonl"][..]),
        ("\n \n", &["bad.jsonl", "no conversation"]),
        (&format!("{good}{{\"prompt\": "), &["bad.jsonl:41:", "no JSON"]),
        (&format!("{good}{{\"prompt\": \"a\"}}"), &["bad.jsonl:41:", "neither a response nor a completion"]),
        (&long, &["bad.jsonl:41:", "45 tokens", "holds 33", "--block-size"]),
        ("{\"prompt\": \"a\", \"response\": \"b\"}", &["bad.jsonl", "too few"]),
    ] {
        refused(&file(folder.path(), "bad.jsonl", text), parts);
    }
    refused("no/such.jsonl", &["no/such.jsonl"]);
    // In bytes, a tale is longer than this block.
    refused("tales", &["tales", "--block-size"]);
}

#[test]
fn requests_that_make_no_sense_exit_2_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    let refused = |args: &[&str], parts: &[&str]| {
        let assert = sft(&base, &chats, &run).args(args).assert().code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(parts.iter().all(|part| error.contains(part)) && !run.exists(), "{error}");
    };
    refused(&["--n-embd", "32"], &["n_embd is 32, and 16"]);
    refused(&["--preset", "char"], &["preset", "char"]);
    refused(&["--steps", "0"], &["steps = 0"]);
    chat(&base, "Hi\n").assert().code(2).stderr(contains("no chat tokens"));

    sft(&base, &chats, &run).assert().success();
    let train = |folder: &Path| {
        let mut command = lal();
        command.args(["train", "--device", "cpu", "--resume"]).arg(folder);
        command
    };
    train(&run).assert().code(2).stderr(contains("finetune sft --resume"));
    let mut resume = lal();
    resume.args(["finetune", "sft", "--device", "cpu", "--resume"]).arg(&base);
    resume.assert().code(2).stderr(contains("train --resume"));
    chat(&run, "/dance\n").assert().code(2).stderr(contains("/dance"));
    chat(&run, &format!("{}\n", "a".repeat(40))).assert().code(2).stderr(contains("shorten it"));
}

/// Without a reader nothing more is said, however much is asked.
#[cfg(unix)]
#[test]
fn a_chat_ends_when_its_reader_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let run = folder.path().join("run");
    sft(&base, &chats, &run).arg("--steps=2").assert().success();
    let program = assert_cmd::cargo::cargo_bin("lal");
    let chat = format!("{} chat --device cpu --max-tokens 2 --model {}", program.display(), run.display());
    let script = format!("yes | timeout 60 {chat} | head -n 1 >/dev/null; exit ${{PIPESTATUS[1]}}");
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
