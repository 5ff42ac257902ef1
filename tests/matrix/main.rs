//! Every architecture × every command that takes a model: each works, or is refused in one sentence that names the
//! reason and the alternative.

mod cell;
mod options;
mod stages;

use lal::engine::device::DeviceError;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::models::config::ModelConfig;
use lal::run::config::TrainConfig;
use lal::run::presets;

use cell::Table;
use cell::Want::{self, Refused as R, Works as W};

/// What a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A Transformer that reads from left to right: everything.
    Gpt,
    /// Another one that predicts the next token.
    Reader,
    /// A Transformer that sees both sides.
    Bert,
    /// Word vectors.
    Skipgram,
}

/// A preset in small, or a change to one.
struct Model {
    name: &'static str,
    kind: Kind,
    flags: &'static str,
}

const fn model(name: &'static str, kind: Kind, flags: &'static str) -> Model {
    Model { name, kind, flags }
}

/// The architectures of all presets, and the positions that none has.
const MODELS: [Model; 15] = [
    model("mini", Kind::Gpt, "--preset mini"),
    model("gpt2", Kind::Gpt, "--preset gpt2 --tokenizer char --grad-accum 3"),
    model("tales-mini", Kind::Gpt, "--preset tales-mini --tokenizer byte"),
    model("llama-mini", Kind::Gpt, "--preset llama-mini"),
    model("bert-mini", Kind::Bert, "--preset bert-mini"),
    model("rnn-mini", Kind::Reader, "--preset rnn-mini"),
    model("gru-mini", Kind::Reader, "--preset gru-mini"),
    model("lstm-mini", Kind::Reader, "--preset lstm-mini"),
    model("mlp-mini", Kind::Reader, "--preset mlp-mini --n-inner 24 --block-size 8"),
    model("bigram", Kind::Reader, "--preset bigram"),
    model("skipgram", Kind::Skipgram, "--preset skipgram --block-size 5"),
    model("none", Kind::Gpt, "--position none --tied false"),
    model("sinusoidal", Kind::Gpt, "--position sinusoidal --norm-place post"),
    model("alibi", Kind::Gpt, "--position alibi --tokenizer bpe:270"),
    model("bert-learned", Kind::Bert, "--preset bert-mini --position learned --tokenizer word"),
];

const SIZES: &str = "--n-layer 1 --n-head 4 --n-embd 16 --block-size 32";

const NO_NEXT: [&str; 2] = ["sees both sides of a token", "`lal inspect masked`"];
const NEIGHBOURS: [&str; 2] = ["which words stand near", "`lal inspect embeddings`"];
const NO_CHAT: [&str; 2] = ["no chat tokens", "fine-tune the model for conversations first"];
const NO_ANSWERS: [&str; 2] = ["cannot learn to answer", "such as those of the presets mini and llama-mini"];
const NO_ATTENTION: [&str; 2] = ["has no attention", "`lal inspect logits`"];
const NO_HEADS: [&str; 2] = ["has no attention", "`lal inspect embeddings`"];
const NO_LAYER: [&str; 2] = ["has layers 0 to 0, heads 0 to 3", "choose --layer and --head"];
const NO_GPU: [&str; 2] = ["GPU", "leave out --device cpu"];
const OTHER_SIZE: [&str; 2] = ["n_layer is 3, and 1 in base", "leave it out"];
const OTHER_BLOCK: [&str; 2] = ["block_size is 4", "leave it out"];
const NO_JUDGE: [&str; 2] = ["--against compares how two fine-tuned models answer", "give --data tales"];
const RESUMED: &str = "trained 6 steps";

/// What is asked of a model that was pretrained, and what must come of it for each [`Kind`] in order. Text stands
/// for a model of words as well as for one of characters.
const ON_BASE: [(&str, [Want; 4]); 33] = [
    ("train --resume base --steps 6", [W(RESUMED), W(RESUMED), W(RESUMED), W(RESUMED)]),
    ("sample --model base --max-tokens 5", [W(""), W(""), R(NO_NEXT), R(NEIGHBOURS)]),
    ("sample --model base --max-tokens 5 --prompt the", [W("the"), W("the"), R(NO_NEXT), R(NEIGHBOURS)]),
    (
        "sample --model base --max-tokens 5 --prompt the --json",
        [W("\"tokens\":5"), W("\"tokens\":5"), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "sample --model base --max-tokens 70 --prompt the --explain",
        [W(" bits "), W(" bits "), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "sample --model base --max-tokens 5 --prompt the --explain --json --num-samples 2",
        [W("\"candidates\""), W("\"candidates\""), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "sample --model base --max-tokens 5 --prompt the --top-k 3 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.2",
        [W("the"), W("the"), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "eval --model base --data text.txt",
        [W("bits per byte"), W("bits per byte"), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "eval --model base --data text.txt --stride 3 --json",
        [W("\"bits_per_byte\""), W("\"bits_per_byte\""), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "eval --model base --data text.txt --against base",
        [R(NO_JUDGE), R(NO_JUDGE), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    ("eval --model base --data chats.jsonl", [R(NO_CHAT), R(NO_ANSWERS), R(NO_NEXT), R(NEIGHBOURS)]),
    (
        "eval --model base --data pairs.jsonl --against base",
        [R(NO_CHAT), R(NO_ANSWERS), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    ("chat --model base", [R(NO_CHAT), R(NO_ANSWERS), R(NO_NEXT), R(NEIGHBOURS)]),
    ("inspect embeddings --model base --word a --top 3", [W("━"), W("━"), W("━"), W("━")]),
    (
        "inspect embeddings --model base --word a --json",
        [W("\"likeness\""), W("\"likeness\""), W("\"likeness\""), W("\"likeness\"")],
    ),
    ("inspect embeddings --model base --analogy a,a,a --by sum", [W("━"), W("━"), W("━"), W("━")]),
    ("inspect embeddings --model base --svg base.svg", [W(""), W(""), W(""), W("")]),
    (
        "inspect attention --model base --prompt the",
        [W("layer 0, head 3"), R(NO_ATTENTION), W("layer 0, head 3"), R(NO_HEADS)],
    ),
    (
        "inspect attention --model base --prompt the --json",
        [W("\"entropy\""), R(NO_ATTENTION), W("\"entropy\""), R(NO_HEADS)],
    ),
    (
        "inspect attention --model base --prompt the --head 1 --svg heads.svg",
        [W("head 1"), R(NO_ATTENTION), W("head 1"), R(NO_HEADS)],
    ),
    (
        "inspect attention --model base --prompt the --layer 4",
        [R(NO_LAYER), R(NO_ATTENTION), R(NO_LAYER), R(NO_HEADS)],
    ),
    (
        "inspect logits --model base --prompt the",
        [W("equal choices"), W("equal choices"), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    (
        "inspect logits --model base --prompt the --top-k 3 --temperature 0.5 --json",
        [W("\"drawn_entropy\""), W("\"drawn_entropy\""), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    ("profile --model base", [W("step"), W("step"), W("step"), W("step")]),
    (
        "profile --model base --mode decode",
        [W("one token decoded"), W("one token decoded"), R(NO_NEXT), R(NEIGHBOURS)],
    ),
    ("profile --model base --n-layer 3", [R(OTHER_SIZE); 4]),
    ("profile --model base --block-size 4", [R(OTHER_BLOCK); 4]),
    ("verify --model base --op zeros", [R(NO_GPU); 4]),
    ("verify --model base --lockstep 1", [R(NO_GPU); 4]),
    (
        "finetune reward --model base --data pairs.jsonl",
        [W("next: lal finetune ppo"), R(NO_ANSWERS), R(NO_ANSWERS), R(NO_ANSWERS)],
    ),
    (
        "finetune ppo --model base --data chats.jsonl --lora-rank 2 --prompts 2 --samples 2 --max-tokens 8",
        [R(["no program can judge", "give --reward"]), R(NO_ANSWERS), R(NO_ANSWERS), R(NO_ANSWERS)],
    ),
    (
        "finetune constitution --model base --data chats.jsonl",
        [
            R(["programs judge replies to questions about tales alone", "give --data tales"]),
            R(NO_ANSWERS),
            R(NO_ANSWERS),
            R(NO_ANSWERS),
        ],
    ),
    (
        "finetune dpo --model base --data pairs.jsonl",
        [W("lal chat"), R(NO_ANSWERS), R(NO_ANSWERS), R(NO_ANSWERS)],
    ),
];

/// A model as others publish it: nothing of a run, nothing of Lal's own.
#[test]
fn imported() {
    let mut table = Table::new();
    let train = "train --data text.txt --out base --bias true --feed-forward gelu-tanh --tokenizer byte --dropout 0.1";
    table.train(&format!("{train} {SIZES}"));
    for entry in std::fs::read_dir(table.path("base")).unwrap() {
        let path = entry.unwrap().path();
        if !["config.json", "model.safetensors", "tokenizer.json"].iter().any(|name| path.ends_with(name)) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let path = table.path("base/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("lal").unwrap();
    std::fs::write(path, config.to_string()).unwrap();
    for (line, wants) in ON_BASE.iter().filter(|(line, _)| !line.contains("--resume")) {
        table.cell(line, wants[Kind::Gpt as usize]);
    }
    stages::walk(&mut table);
    table.finish(ON_BASE.len());
}

/// Steps of training beside the oracle, where there is an adapter: each architecture's own ops, and a stage whose rows
/// are shorter than a table of positions.
#[test]
fn lockstep() {
    match Gpu::open(GpuOptions::default()) {
        Ok(_) => {}
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
    let mut table = Table::new();
    for name in ["mini", "bert-mini", "lstm-mini", "mlp-mini", "bigram", "skipgram"] {
        let flags = MODELS.iter().find(|model| model.name == name).unwrap().flags;
        table.cell(&format!("train --data text.txt --out {name} {SIZES} {flags}"), W("trained 4 steps"));
        table.cell(&format!("verify --lockstep 1 --device auto --model {name}"), W(" 0 failed"));
    }
    table.cell("finetune dpo --model mini --data pairs.jsonl --out dpo", W("lal chat"));
    table.cell("verify --lockstep 1 --device auto --model dpo", W(" 0 failed"));
    table.finish(14);
}

/// The model of that name through all commands.
fn walk(name: &str) {
    let Model { kind, flags, .. } = MODELS.iter().find(|model| model.name == name).unwrap();
    let mut table = Table::new();
    let train = |out: &str| format!("train --data text.txt --out {out} {SIZES} {flags}");
    table.train(&train("base"));
    for (line, wants) in ON_BASE {
        table.cell(line, wants[*kind as usize]);
    }
    for optimizer in ["adamw", "muon", "sgd"] {
        let line = format!("{} --dropout 0.1 --grad-accum 2 --optimizer {optimizer}", train(optimizer));
        table.cell(&line, W("trained 4 steps"));
    }
    if *kind == Kind::Gpt {
        stages::walk(&mut table);
    } else {
        table.cell("finetune sft --model base --data chats.jsonl", R(NO_ANSWERS));
        table.cell("finetune sft --model base --data chats.jsonl --lora-rank 2", R(NO_ANSWERS));
    }
    table.finish(ON_BASE.len());
}

macro_rules! walks {
    ($($test:ident: $name:literal),*) => {
        $(#[test]
        fn $test() {
            walk($name);
        })*

        #[test]
        fn every_model_is_walked() {
            let walked = [$($name),*];
            assert!(MODELS.iter().all(|model| walked.contains(&model.name)));
        }
    };
}

walks! {
    mini: "mini", gpt2: "gpt2", tales_mini: "tales-mini", llama_mini: "llama-mini", bert_mini: "bert-mini",
    rnn_mini: "rnn-mini", gru_mini: "gru-mini", lstm_mini: "lstm-mini", mlp_mini: "mlp-mini", bigram: "bigram",
    skipgram: "skipgram", none: "none", sinusoidal: "sinusoidal", alibi: "alibi", bert_learned: "bert-learned"
}

/// A preset whose architecture is none of those walked would not be tested.
#[test]
fn every_preset_is_one_of_the_models() {
    let kind = |config: &TrainConfig| ModelConfig {
        n_layer: 1,
        n_head: 1,
        n_kv_head: config.model.n_kv_head.min(1),
        n_embd: 1,
        n_inner: 1,
        block_size: 1,
        dropout: 0.0,
        ..config.model(1)
    };
    let named = |name: &str| presets::named(name).unwrap();
    let walked: Vec<_> =
        presets::NAMES.iter().filter(|name| MODELS.iter().any(|model| model.name == **name)).collect();
    for name in presets::NAMES {
        assert!(walked.iter().any(|other| kind(&named(other)) == kind(&named(name))), "{name}");
    }
}
