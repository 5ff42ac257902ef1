//! The stages of fine-tuning, with and without adapters, continued, and what is asked of the models that they make.

use crate::cell::Table;
use crate::cell::Want::{self, Refused as R, Works as W};

const RESUMED: &str = "trained 6 steps";
const LONE: [&str; 2] =
    ["--against needs replies that a program can judge", "--reward the folder of a reward model"];
const NO_REWARDS: [&str; 2] = ["has no score.weight", "such as finetune reward makes"];
const NO_CHAT: [&str; 2] = ["no chat tokens", "fine-tune the model for conversations first"];
const NO_CHOSEN: [&str; 2] = ["chats.jsonl:1", "there is no chosen answer"];
const NO_PAIRS: [&str; 2] = ["tales has too few pairs", "for validation"];
const OTHER_MODEL: [&str; 2] = ["n_embd is 8, and 16 in base", "keeps what its base is"];

/// The stages from a base, each before those that need it. `LORA` stands for the flags of adapters or for nothing, and
/// ends the names of folders.
const STAGES: [(&str, Want); 15] = [
    ("finetune sft --model base --data chats.jsonl --out sft-LORA", W("lal chat")),
    ("finetune sft --resume sft-LORA --steps 6", W(RESUMED)),
    ("finetune reward --model sft-LORA --data pairs.jsonl --out reward-LORA", W("next: lal finetune ppo")),
    ("finetune reward --resume reward-LORA --steps 6", W(RESUMED)),
    ("finetune dpo --model sft-LORA --data pairs.jsonl --out dpo-LORA", W("lal chat")),
    ("finetune dpo --resume dpo-LORA --steps 6", W(RESUMED)),
    (
        "finetune ppo --model sft-LORA --data chats.jsonl --out ppo-LORA ROLL --reward reward-LORA",
        W("lal chat"),
    ),
    ("finetune ppo --resume ppo-LORA --steps 6", W(RESUMED)),
    (
        "finetune ppo --algorithm grpo --model sft-LORA --data chats.jsonl --out grpo-LORA ROLL --reward reward-LORA",
        W("lal chat"),
    ),
    ("finetune ppo --algorithm grpo --resume grpo-LORA --steps 6", W(RESUMED)),
    ("finetune dpo --resume sft-LORA", R(["this is a run of sft", "finetune sft --resume"])),
    ("train --resume sft-LORA", R(["is a run of fine-tuning", "finetune sft --resume"])),
    ("finetune dpo --model sft-LORA --data chats.jsonl", R(NO_CHOSEN)),
    ("finetune sft --model base --data chats.jsonl --n-embd 8", R(OTHER_MODEL)),
    ("finetune ppo --model sft-LORA --data chats.jsonl ROLL --reward sft-LORA", R(NO_REWARDS)),
];

/// What is asked of every model that a stage makes.
const ON_STAGE: [(&str, Want); 14] = [
    ("sample --model RUN --max-tokens 5", W("")),
    ("sample --model RUN --max-tokens 5 --prompt the --json", W("\"tokens\":5")),
    ("chat --model RUN --max-tokens 5 --json", W("\"answers\":1")),
    ("chat --model RUN --max-tokens 40 --system it", W("\n")),
    ("eval --model RUN --data text.txt", W("bits per byte")),
    ("eval --model RUN --data chats.jsonl --json", W("\"exact_match\"")),
    ("eval --model RUN --data chats.jsonl --against sft- --reward reward-", W("win rate")),
    ("eval --model RUN --data chats.jsonl --against sft-", R(LONE)),
    ("eval --model RUN --data chats.jsonl --against sft- --reward sft-", R(NO_REWARDS)),
    ("eval --model RUN --data chats.jsonl --against base --reward reward-", R(NO_CHAT)),
    ("inspect embeddings --model RUN --word a", W("━")),
    ("inspect attention --model RUN --prompt the", W("layer 0, head 3")),
    ("inspect logits --model RUN --prompt the", W("equal choices")),
    ("profile --model RUN --mode decode", W("one token decoded")),
];

const ROLL: &str = "--prompts 2 --samples 2 --max-tokens 8";

/// From a base that is there.
pub fn walk(table: &mut Table) {
    for adapters in ["", "--lora-rank 2"] {
        for (line, want) in STAGES {
            let begins = line.contains("--out");
            let name = if adapters.is_empty() { "" } else { "lora" };
            let line = line.replace("LORA", name).replace("ROLL", ROLL);
            table.cell(&if begins { format!("{line} {adapters}") } else { line }, want);
        }
    }
    for run in ["sft-", "reward-", "dpo-", "ppo-lora"] {
        for (line, want) in ON_STAGE {
            table.cell(&line.replace("RUN", run), want);
        }
    }
    for (run, step) in
        [("sft-", "sft step"), ("reward-lora", "reward step"), ("dpo-", "dpo step"), ("grpo-", "ppo step")]
    {
        table.cell(&format!("profile --model {run}"), W(step));
    }
}

/// The stages that learn from the Tales world. Replies of so small a model all err alike, so that programs find none
/// better than another.
const ON_TALES: [(&str, Want); 12] = [
    ("finetune sft --model base --data chats.jsonl --lr 1e-2 --steps 80 --out sft-", W("lal chat")),
    ("finetune reward --model sft- --data tales --out reward-", W("next: lal finetune ppo")),
    ("finetune dpo --model sft- --data tales --lora-rank 2 --out dpo-", W("held-out questions")),
    ("finetune ppo --model sft- --data tales ROLL --out ppo-", W("held-out questions")),
    (
        "finetune ppo --model sft- --data tales ROLL --reward reward- --algorithm grpo --out grpo-",
        W("held-out questions"),
    ),
    (
        "finetune constitution --model sft- --data tales --questions 20 --out revise-",
        W("violate a principle"),
    ),
    ("finetune constitution --resume revise- --steps 6", W(RESUMED)),
    ("finetune constitution --model sft- --data tales --questions 9 --feedback prefer", R(NO_PAIRS)),
    (
        "finetune constitution --model sft- --data tales --questions 40 --judge model",
        W("violate a principle"),
    ),
    (
        "finetune constitution --model sft- --data tales --questions 80 --judge model --feedback prefer --lora-rank 2 \
         --out doubt-",
        W("violate a principle"),
    ),
    ("finetune constitution --resume doubt- --steps 6", W(RESUMED)),
    ("eval --model dpo- --data tales --questions 6 --against sft- --json", W("\"win_rate\"")),
];

fn on_tales(position: &str) {
    let mut table = Table::new();
    let sizes = "--tokenizer byte --n-layer 1 --n-head 2 --n-embd 16 --block-size 540";
    table.cell(&format!("train --data tales --out base {sizes} --position {position}"), W("trained 4 steps"));
    for (line, want) in ON_TALES {
        table.cell(&line.replace("ROLL", ROLL), want);
    }
    table.finish(ON_TALES.len());
}

#[test]
fn tales_by_learned_positions() {
    on_tales("learned");
}

#[test]
fn tales_by_rotary_positions() {
    on_tales("rope");
}
