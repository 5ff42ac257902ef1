//! A run that is stopped and resumed equals one that never stopped, to the bit: every optimiser in every stage. A state
//! that checkpoints lack shows here.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use support::{file, lal};

/// What a command learns from, and the steps of half a run: of policies, whole rounds of replies.
struct Stage {
    verb: &'static [&'static str],
    more: &'static [&'static str],
    data: &'static str,
    half: u32,
}

const fn stage(verb: &'static [&'static str], more: &'static [&'static str], data: &'static str) -> Stage {
    Stage { verb, more, data, half: 2 }
}

const POLICY: &[&str] = &["finetune", "ppo"];

const STAGES: [Stage; 9] = [
    stage(&["train"], &["--position", "rope"], "text.txt"),
    stage(&["train"], &["--architecture", "lstm", "--grad-accum", "2"], "text.txt"),
    stage(&["finetune", "sft"], &[], "chats.jsonl"),
    stage(&["finetune", "sft"], &["--lora-rank", "2"], "chats.jsonl"),
    stage(&["finetune", "reward"], &[], "pairs.jsonl"),
    stage(&["finetune", "dpo"], &[], "pairs.jsonl"),
    Stage { half: 4, ..stage(POLICY, &["--algorithm", "ppo"], "chats.jsonl") },
    Stage { half: 4, ..stage(POLICY, &["--algorithm", "grpo"], "chats.jsonl") },
    stage(&["finetune", "constitution"], &["--questions", "20", "--samples", "2"], "tales"),
];

/// The tensors of the run's checkpoint and of its model.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for name in ["state.safetensors", "model.safetensors"] {
        let bytes = fs::read(run.join(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        all.extend(file.iter().map(|(tensor, view)| (format!("{name} {tensor}"), view.data().to_vec())));
    }
    all
}

fn data(folder: &Path) {
    let lines = |line: fn(u32) -> String| (0..400).map(line).collect::<String>();
    file(folder, "text.txt", &lines(|i| format!("Say {i}! It is {i}. ")));
    let chat = |i| format!("{{\"prompt\": \"Say {i}!\", \"response\": \"It is {i}.\"}}\n");
    file(folder, "chats.jsonl", &lines(chat));
    let pair =
        |i| format!("{{\"prompt\": \"Say {i}!\", \"chosen\": \"It is {i}.\", \"rejected\": \"No {i}.\"}}\n");
    file(folder, "pairs.jsonl", &lines(pair));
}

fn resume_every_stage(optimizer: &str) {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let [mut base, mut reward] = [(); 2].map(|()| PathBuf::new());
    for Stage { verb, more, data, half } in STAGES {
        let what = [optimizer, verb.last().unwrap(), &more.concat()].join("-");
        let begin = |out: &Path, steps: u32| {
            let mut command = lal();
            command.current_dir(folder.path()).args(verb).args(more).args(["--data", data]);
            command.args(["--device", "cpu", "--quiet", "--optimizer", optimizer, "--schedule", "constant"]);
            command.args(["--warmup-steps", "0", "--batch-size", "2", "--steps", &steps.to_string()]);
            command
                .args(["--eval-iters", "1", "--eval-every", "1000", "--sample-tokens", "0", "--out"])
                .arg(out);
            let shape = "--tokenizer byte --n-layer 1 --n-head 2 --n-embd 8 --block-size 400";
            match verb {
                ["train"] => command.args(shape.split(' ')),
                _ => command.arg("--model").arg(&base),
            };
            if verb == POLICY {
                command.args("--prompts 2 --samples 2 --max-tokens 4 --reward".split(' ')).arg(&reward);
            }
            command
        };
        let [whole, paused] = ["whole", "paused"].map(|name| folder.path().join(format!("{what}-{name}")));
        begin(&whole, 2 * half).assert().success();
        begin(&paused, half).assert().success();
        let at_half = tensors(&paused);
        let mut resume = lal();
        resume.current_dir(folder.path()).args(verb).args(["--device", "cpu", "--quiet", "--resume"]);
        resume.arg(&paused).args(["--steps", &(2 * half).to_string()]).assert().success();
        let (got, want) = (tensors(&paused), tensors(&whole));
        let other = want.iter().find(|(name, bytes)| got.get(*name) != Some(*bytes)).map(|(name, _)| name);
        assert_eq!((other, got.len()), (None, want.len()), "{what} is resumed to other numbers");
        assert!(got != at_half, "{what} learned nothing after the pause");
        match (verb, more) {
            (["train"], ["--position", ..]) => base = whole,
            ([_, "reward"], _) => reward = whole,
            _ => {}
        }
    }
}

#[test]
fn adamw_resumes_to_the_bit() {
    resume_every_stage("adamw");
}

#[test]
fn muon_resumes_to_the_bit() {
    resume_every_stage("muon");
}

#[test]
fn sgd_resumes_to_the_bit() {
    resume_every_stage("sgd");
}
