//! Reward models, preferences, policies and principles as a person meets them: what they learn, that they go on where
//! they stopped, and what bad input gets.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use lal::engine::device::DeviceError;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use predicates::str::contains;
use serde_json::Value;
use support::{base, events, file, lal, tiny};

/// Of two answers the one that says the number is the better. Numbers whose last digits are not only those of the
/// pairs that are held out.
fn pairs(folder: &Path) -> String {
    let line = |i| {
        let i = 3 * i + i / 10;
        format!("{{\"prompt\": \"Say {i}!\", \"chosen\": \"It is {i}.\", \"rejected\": \"No {i}, go.\"}}\n")
    };
    file(folder, "pairs.jsonl", &(0..40).map(line).collect::<String>())
}

/// A model that has learned to answer for a moment, with what there is to learn next.
struct Start {
    folder: tempfile::TempDir,
    model: PathBuf,
    chats: String,
    pairs: String,
}

fn start() -> Start {
    let folder = tempfile::tempdir().unwrap();
    let (base, _) = base(folder.path());
    // As often well as badly answered: there is something to prefer.
    let line = |i| {
        let said = if i % 2 == 0 { format!("It is {i}.") } else { format!("No {i}, go.") };
        format!("{{\"prompt\": \"Say {i}!\", \"response\": \"{said}\"}}\n")
    };
    let chats = file(folder.path(), "mixed.jsonl", &(0..40).map(line).collect::<String>());
    let model = folder.path().join("model");
    let mut sft = tiny(&["finetune", "sft"], &chats, &model);
    sft.args(["--lr", "1e-2", "--steps", "60", "--model"]).arg(&base).assert().success();
    let pairs = pairs(folder.path());
    Start { folder, model, chats, pairs }
}

impl Start {
    fn stage(&self, stage: &str, data: &str, out: &Path) -> Command {
        let mut command = tiny(&["finetune", stage], data, out);
        command.arg("--model").arg(&self.model);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A policy that is rewarded by the model of a folder. With the longest prompt, of ten tokens, the longest reply
    /// fills a block.
    fn policy(&self, reward: &Path, out: &Path) -> Command {
        let mut command = self.stage("ppo", &self.chats, out);
        command.args(["--prompts", "4", "--samples", "4", "--max-tokens", "22", "--reward"]).arg(reward);
        command
    }

    /// The stage or algorithm called `name`; policies are rewarded by the model of a folder.
    fn objective(&self, name: &str, reward: &Path, out: &Path) -> Command {
        match name {
            "sft" => self.stage(name, &self.chats, out),
            "reward" | "dpo" => self.stage(name, &self.pairs, out),
            algorithm => {
                let mut command = self.policy(reward, out);
                command.args(["--algorithm", algorithm]);
                command
            }
        }
    }
}

fn has_gpu() -> bool {
    match Gpu::open(GpuOptions::default()) {
        Ok(_) => true,
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => false,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn numbers(events: &[Value], event: &str, key: &str) -> Vec<f64> {
    events.iter().filter(|e| e["event"] == event).filter_map(|e| e[key].as_f64()).collect()
}

#[test]
fn preferences_are_learned_with_and_without_adapters() {
    let start = start();
    for (name, extra) in [
        ("full", &["--lr", "1e-2"][..]),
        ("lora", &["--lr", "2e-2", "--lora", "4"]),
        ("ipo", &["--lr", "1e-2", "--loss", "ipo"]),
    ] {
        let mut dpo = start.stage("dpo", &start.pairs, &start.path(name));
        dpo.args(["--steps", "60", "--beta", "0.1", "--sft-weight", "0"]).args(extra);
        let told = events(&mut dpo);
        let accuracy = numbers(&told, "eval", "accuracy");
        assert!(*accuracy.last().unwrap() >= 0.95, "{name}: {accuracy:?}");
        // The policy begins as the reference, so that no pair is ahead.
        let margins = numbers(&told, "step", "margin");
        assert!(margins[0].abs() < 1e-4 && margins[59] > 0.1, "{name}: {margins:?}");
        let losses = numbers(&told, "step", "loss");
        let first = if name == "ipo" { 25.0 } else { std::f64::consts::LN_2 };
        assert!((losses[0] - first).abs() < 1e-3 * first, "{name}: {}", losses[0]);
    }
}

#[test]
fn rewards_are_learned_and_then_sought() {
    let start = start();
    let reward = start.path("reward");
    let told = events(start.stage("reward", &start.pairs, &reward).args(["--lr", "1e-2", "--steps", "60"]));
    assert_eq!(*numbers(&told, "calibration", "accuracy").last().unwrap(), 1.0);
    // What the better answers count as demonstrations is a part of the loss.
    let first_loss = |sft_weight: &str| {
        let mut reward = start.stage("reward", &start.pairs, &start.path(sft_weight));
        numbers(&events(reward.args(["--steps", "1", "--sft-weight", sft_weight])), "step", "loss")[0]
    };
    assert!(first_loss("1") > first_loss("0") + 0.1);
    for algorithm in ["ppo", "grpo"] {
        let told = events(start.policy(&reward, &start.path(algorithm)).args([
            "--algorithm",
            algorithm,
            "--lr",
            "3e-3",
            "--steps",
            "160",
            "--kl-coefficient",
            "0.01",
        ]));
        let rewards = numbers(&told, "step", "reward");
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        let (before, after) = (mean(&rewards[..16]), mean(&rewards[144..]));
        assert!(after > before + 0.5, "{algorithm}: {before} to {after}");
        assert!(numbers(&told, "step", "kl")[0].abs() < 1e-4, "the policy begins as the reference");
        assert!(numbers(&told, "step", "clip_fraction").iter().all(|share| (0.0..=1.0).contains(share)));
        // By the same reward model its replies are better than those of the model that it was.
        let mut eval = lal();
        eval.args(["eval", "--device", "cpu", "--data", &start.chats, "--temperature", "1"]);
        eval.arg("--model").arg(start.path(algorithm)).arg("--against").arg(&start.model);
        let told = events(eval.arg("--reward").arg(&reward));
        let win_rate = numbers(&told, "against", "win_rate");
        assert!(win_rate.len() == 1 && win_rate[0] > 0.6, "{algorithm}: {win_rate:?}");
        let picture = fs::read_to_string(start.path(algorithm).join("reward.svg")).unwrap();
        assert!(picture.contains("reward") && !picture.contains("loss"), "{picture}");
        let losses = fs::read_to_string(start.path(algorithm).join("loss.svg")).unwrap();
        assert!(losses.contains("policy loss") && !losses.contains("nats"), "{losses}");
    }
    assert!(!reward.join("reward.svg").exists());
}

#[test]
fn ten_losses_of_every_objective_agree_on_gpu_and_cpu() {
    if !has_gpu() {
        return;
    }
    let start = start();
    let reward = start.path("reward");
    start.stage("reward", &start.pairs, &reward).assert().success();
    let losses = |name: &str, device: &str| {
        let out = start.path(&format!("{name}-{device}"));
        let mut command = start.objective(name, &reward, &out);
        command.args(["--lr", "1e-3", "--steps", "10", "--device", device]);
        let told = events(&mut command);
        assert_eq!(told[0]["device"], device, "{}", told[0]);
        if let Some(strayed) = numbers(&told, "step", "step_kl").first() {
            // Nothing has been learned yet: replies are as likely as when they were said.
            assert!(strayed.abs() < 1e-9, "{name} on {device}: {strayed}");
        }
        numbers(&told, "step", "loss")
    };
    for name in ["sft", "reward", "dpo", "ppo", "grpo"] {
        let [cpu, gpu] = ["cpu", "gpu"].map(|device| losses(name, device));
        assert_eq!((cpu.len(), gpu.len()), (10, 10), "{name}");
        for (step, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
            // The losses of a policy pass through zero: beside an advantage of 1 they are compared absolutely.
            let scale = cpu.abs().max(if name.ends_with("po") && name != "dpo" { 1.0 } else { 0.0 });
            assert!(
                (cpu - gpu).abs() <= 1e-4 * scale,
                "{name}, step {step}: {cpu} on the CPU, {gpu} on the GPU"
            );
        }
    }
}

#[test]
fn every_stage_is_checked_beside_the_oracle_and_profiled() {
    if !has_gpu() {
        return;
    }
    let start = start();
    let reward = start.path("reward");
    start.stage("reward", &start.pairs, &reward).args(["--steps", "2"]).assert().success();
    let run = |name: &str| {
        let out = start.path(name);
        start.objective(name, &reward, &out).args(["--steps", "2"]).assert().success();
        out
    };
    // Tales in bytes want a long block. A model that hardly says anything ends few replies by itself.
    let principled = start.path("principled");
    let mut command = start.stage("constitution", "tales", &principled);
    command.args(["--block-size", "520", "--batch-size", "1", "--steps", "2", "--eval-iters", "1"]);
    command.args(["--feedback", "prefer", "--judge", "model", "--questions", "20"]).assert().success();
    for (folder, op) in [
        (run("sft"), "cross_entropy"),
        (reward.clone(), "logistic_loss"),
        (run("dpo"), "logistic_loss"),
        (run("ppo"), "squared_loss"),
        (run("grpo"), "policy_loss"),
        (principled, "logistic_loss"),
    ] {
        let told = events(lal().args(["verify", "--lockstep", "1", "--model"]).arg(&folder));
        let done = told.last().unwrap();
        assert_eq!((&done["event"], done["failed"].as_u64()), (&Value::from("done"), Some(0)), "{done}");
        let checks = told.iter().filter(|check| check["op"] == op).count();
        assert!(checks > 0, "{op} is not among the {} checks of {}", told.len(), folder.display());
        let told = events(lal().args(["profile", "--device", "cpu", "--model"]).arg(&folder));
        assert!(told.iter().any(|row| row["op"] == op), "{op} is not in the profile of {}", folder.display());
    }
}

#[test]
fn bad_pairs_are_named_before_training_starts() {
    let start = start();
    let run = start.path("run");
    let good = fs::read_to_string(&start.pairs).unwrap();
    let long = format!("{{\"prompt\": \"{}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n", "a".repeat(40));
    for stage in ["dpo", "reward"] {
        for (text, parts) in [
            ("".to_owned(), &["bad.jsonl"][..]),
            (format!("{good}{{\"prompt\": "), &["bad.jsonl:41:", "no JSON"]),
            (format!("{good}{{\"prompt\": \"a\", \"chosen\": \"b\"}}"), &["bad.jsonl:41:", "rejected"]),
            (
                format!("{good}{{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}}"),
                &["bad.jsonl:41:", "the same"],
            ),
            (format!("{good}{long}"), &["bad.jsonl:41:", "--block-size"]),
            (good.lines().next().unwrap().to_owned(), &["bad.jsonl", "too few"]),
        ] {
            let data = file(start.folder.path(), "bad.jsonl", &text);
            let assert = start.stage(stage, &data, &run).assert().code(2);
            let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
            assert!(parts.iter().all(|part| error.contains(part)), "{stage}: {error}");
            assert!(!run.exists(), "{stage}: {text}");
        }
    }
}

#[test]
fn requests_that_make_no_sense_exit_2_and_say_why() {
    let start = start();
    let run = start.path("run");
    let refused = |mut command: Command, parts: &[&str]| {
        let assert = command.assert().code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(parts.iter().all(|part| error.contains(part)) && !run.exists(), "{error}");
    };
    let dpo = |args: &[&str]| {
        let mut command = start.stage("dpo", &start.pairs, &run);
        command.args(args);
        command
    };
    refused(dpo(&["--beta", "0"]), &["--beta 0", "above 0"]);
    refused(dpo(&["--label-smoothing", "0.5"]), &["--label-smoothing"]);
    for stage in ["dpo", "reward"] {
        let mut command = start.stage(stage, &start.pairs, &run);
        command.arg("--sft-weight=-1");
        refused(command, &["--sft-weight -1", "0 to 1000000"]);
    }
    // Principles, a tale in bytes and a reply, where a block holds the tale and the reply alone.
    let mut reminded = start.stage("constitution", "tales", &run);
    reminded.args(["--block-size", "400", "--feedback", "prefer", "--judge", "model", "--questions", "2"]);
    refused(reminded, &["reminded answer", "a block holds 400"]);
    // A policy that nobody judges, and one that the model of another tokenizer judges.
    refused(start.stage("ppo", &start.chats, &run), &["--reward", "finetune reward"]);
    let other = start.folder.path().join("base");
    refused(start.policy(&other, &run), &["another tokenizer"]);
    let mut odd = start.policy(&start.model, &run);
    odd.args(["--prompts", "3", "--samples", "1"]);
    refused(odd, &["3 replies", "steps of 4"]);
    let mut long = start.policy(&start.model, &run);
    long.args(["--max-tokens", "30"]);
    refused(long, &["--max-tokens", "block"]);
    // A model that gives no rewards.
    refused(start.policy(&start.model, &run), &["score.weight"]);
    refused(start.stage("constitution", &start.chats, &run), &["--data tales"]);
    let mut principles = start.stage("constitution", "tales", &run);
    let bad = file(start.folder.path(), "own.toml", "[[principle]]\nname = 'a'");
    principles.args(["--principles", &bad]);
    refused(principles, &["own.toml", "says"]);

    start.stage("dpo", &start.pairs, &run).assert().success();
    let mut resume = lal();
    resume.args(["finetune", "ppo", "--device", "cpu", "--resume"]).arg(&run);
    resume.assert().code(2).stderr(contains("finetune dpo --resume"));
}
