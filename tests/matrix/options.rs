//! Every objective × every option of its training: losses are finite, and where a stage compares the model with what it
//! was, it begins as that.

use std::f64::consts::LN_2;

use crate::cell::Want::{Refused as R, Works as W};
use crate::cell::{Table, metrics};

/// What is learned, and the loss of the first step where it is known whatever the model: of equal margins, of ½β for
/// IPO at β = 0.1, and of advantages of mean 0.
const OBJECTIVES: [(&str, &str, Option<f64>); 9] = [
    ("sft", "finetune sft --model base --data chats.jsonl", None),
    ("reward", "finetune reward --model base --data pairs.jsonl", None),
    ("bare-reward", "finetune reward --model base --data pairs.jsonl --sft-weight 0", None),
    ("dpo", "finetune dpo --model base --data pairs.jsonl --sft-weight 0", Some(LN_2)),
    (
        "smoothed",
        "finetune dpo --model base --data pairs.jsonl --sft-weight 0 --label-smoothing 0.2",
        Some(LN_2),
    ),
    ("ipo", "finetune dpo --model base --data pairs.jsonl --sft-weight 0 --loss ipo --beta 0.1", Some(25.0)),
    ("shown", "finetune dpo --model base --data pairs.jsonl --sft-weight 0.5", None),
    (
        "ppo",
        "finetune ppo --model base --data chats.jsonl --prompts 4 --samples 2 --max-tokens 8 --reward judge",
        None,
    ),
    (
        "grpo",
        "finetune ppo --algorithm grpo --model base --data chats.jsonl --prompts 4 --samples 2 --max-tokens 8 --reward judge",
        None,
    ),
];

const OPTIONS: [&str; 9] = [
    "",
    "--grad-accum 2",
    "--optimizer adamw --weight-decay 0.1",
    "--optimizer muon",
    "--optimizer sgd",
    "--block-size 30",
    "--lora-rank 3 --grad-accum 2",
    "--batch-size 1",
    // The last: it is the one that may begin elsewhere.
    "--dropout 0.3",
];

/// A base that drops out, as the preset char does.
fn base(table: &mut Table, position: &str) {
    let sizes = "--n-layer 2 --n-head 2 --n-embd 16 --block-size 32 --dropout 0.2";
    table.cell(
        &format!("train --data text.txt --out base {sizes} --position {position}"),
        W("trained 4 steps"),
    );
    table.cell("finetune reward --model base --data pairs.jsonl --out judge", W("next: lal finetune ppo"));
}

fn walk(position: &str) {
    let mut table = Table::new();
    base(&mut table, position);
    for (name, line, first) in OBJECTIVES {
        for (number, option) in OPTIONS.iter().enumerate() {
            let run = format!("{name}-{number}");
            table.cell(&format!("{line} {option} --out {run}"), W("trained 4 steps"));
            let losses = metrics(&table.path(&run), "loss");
            table.expect(losses.len() == 4 && losses.iter().all(|loss| loss.is_finite()), || {
                format!("{run} ({option}): losses {losses:?}")
            });
            if option.contains("--dropout") {
                continue;
            }
            if let Some(first) = first {
                let is_near = losses.first().is_some_and(|loss| (loss - first).abs() < 1e-4 * first);
                table.expect(is_near, || format!("{run} ({option}): {losses:?} does not begin with {first}"));
            }
            // Replies are as likely as when they were said, and as under the reference.
            for measure in ["step_kl", "kl"] {
                let first = metrics(&table.path(&run), measure).first().copied().unwrap_or(0.0);
                table.expect(first.abs() < 1e-4, || {
                    format!("{run} ({option}): {measure} begins with {first}")
                });
            }
        }
    }
    table.finish(OBJECTIVES.len() * OPTIONS.len());
}

#[test]
fn learned_positions() {
    walk("learned");
}

#[test]
fn rotary_positions() {
    walk("rope");
}

/// Only a table of positions limits a block.
#[test]
fn blocks_are_as_long_as_positions_are_known() {
    let mut table = Table::new();
    base(&mut table, "learned");
    table.cell(
        "finetune sft --model base --data chats.jsonl --block-size 48",
        R(["block_size is 48, and base has learned 32 positions", "choose --block-size 32 or less"]),
    );
    table.cell("finetune sft --model base --data chats.jsonl --block-size 20 --out short", W("lal chat"));
    table.cell("chat --model short --max-tokens 5 --json", W("\"answers\":1"));
    table.cell("finetune dpo --model short --data pairs.jsonl --out shorter --block-size 18", W("lal chat"));
    table.cell("eval --model shorter --data chats.jsonl", W("exact match"));
    table.finish(5);
}

/// Who judges must read what both models say.
#[test]
fn models_of_other_tokenizers_are_not_compared_by_one_judge() {
    let mut table = Table::new();
    base(&mut table, "learned");
    let sizes = "--n-layer 1 --n-head 2 --n-embd 16 --block-size 32 --tokenizer byte";
    table.cell(&format!("train --data text.txt --out bytes {sizes}"), W("trained 4 steps"));
    for (model, out) in [("base", "one"), ("bytes", "other")] {
        let sft = format!("finetune sft --model {model} --data chats.jsonl --out {out}");
        table.cell(&sft, W("lal chat"));
    }
    let refused = R(["judge has another tokenizer", "train it from the same model"]);
    table.cell("eval --model one --data chats.jsonl --against other --reward judge", refused);
    table.cell("eval --model other --data chats.jsonl --against one --reward judge", refused);
    table.cell("finetune ppo --model other --data chats.jsonl --reward judge --max-tokens 8", refused);
    table.finish(8);
}

/// An untrained reply has as many tokens as it may; one that is learned by heart ends, in samples too.
#[test]
fn samples_of_an_assistant_end_with_its_answer() {
    let mut table = Table::new();
    base(&mut table, "learned");
    let line = "{\"prompt\": \"the cat\", \"response\": \"it sat\"}\n";
    std::fs::write(table.path("one.jsonl"), line.repeat(40)).unwrap();
    let sft = "finetune sft --model base --data one.jsonl --out run --dropout 0 --lr 3e-2 --steps 120 --eval-every 120 \
               --sample-tokens 20";
    table.cell(sft, W("<|assistant|>it sat\n"));
    let samples = std::fs::read_to_string(table.path("run/samples.txt")).unwrap_or_default();
    table.expect(samples.contains("<|assistant|>it sat") && !samples.contains("sat<|end|>"), || {
        samples.clone()
    });
    table.finish(3);
}
