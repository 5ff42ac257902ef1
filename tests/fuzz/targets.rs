//! What is damaged, and what then reads it.

use crate::damage::Damage::{
    self, Bytes, Endless, Exchange, Gguf, Mark, Size, Template, Tensors, Text, Values,
};

/// Files, one of which is damaged.
pub struct Target {
    pub name: &'static str,
    /// Of all cases, as a weight.
    pub share: usize,
    pub damage: Damage,
    pub files: &'static [&'static str],
    pub readers: &'static [Reader],
    /// Whether all must go on as with the right file: it is cosmetic, or only looks strange.
    pub harmless: bool,
}

/// Runs, a copy of one of which is the folder `m`, and commands, one of which is tried. Of every reader, each run
/// suits some command and each command some run.
pub type Reader = (&'static [&'static str], &'static [&'static str]);

/// The model of the run `published` in two files.
pub const SHARDED: &str = "sharded";

/// Published models, of the folders of these names.
pub const FAMILY: [&str; 4] = ["gemma3", "phi3", "smollm3", "qwen2_window"];

/// Where a command needs no run.
pub const NO_RUN: &str = "";

const WRITERS: Reader = (
    &["gpt", "published", "bpe", "llama", "lstm"],
    &[
        "sample --model m --prompt O --max-tokens 3",
        "sample --model m --prompt fire --max-tokens 20 --explain --top-k 3",
        "inspect logits --model m --prompt fire",
        "eval --model m --data corpus.txt",
    ],
);
const BASES: Reader = (
    &["gpt", "published", "bpe", "llama"],
    &[
        "inspect attention --model m --prompt fire",
        "profile --model m --mode decode",
        "finetune sft --model m --data chats.jsonl",
    ],
);
const TABLES: Reader = (&["skipgram", "lstm"], &["inspect embeddings --model m --word fire --svg e.svg"]);
const ANSWERERS: Reader = (
    &["chat", "dpo", "ppo"],
    &[
        "chat --model m --max-tokens 5",
        "chat --model m --max-tokens 5 --json",
        "eval --model m --data chats.jsonl",
        "finetune reward --model m --data pairs.jsonl",
        "finetune dpo --model m --data pairs.jsonl",
    ],
);
const SCORERS: Reader = (
    &["reward"],
    &[
        "finetune ppo --model {seeds}/chat --data chats.jsonl --reward m --prompts 2 --samples 2 --max-tokens 4",
        "eval --model {seeds}/chat --data chats.jsonl --against {seeds}/dpo --reward m",
    ],
);
const READERS: &[Reader] = &[WRITERS, BASES, TABLES, ANSWERERS, SCORERS];

const STAGES: &[Reader] = &[
    (&["chat"], &["finetune sft --resume m --steps 3 --quiet"]),
    (&["reward"], &["finetune reward --resume m --steps 3 --quiet"]),
    (&["dpo"], &["finetune dpo --resume m --steps 3 --quiet"]),
    (&["ppo"], &["finetune ppo --resume m --steps 4 --quiet"]),
];
const RUNS: &[Reader] = &[
    (&["gpt", "bpe", "llama", "lstm", "bert", "skipgram"], &["train --resume m --steps 3 --quiet"]),
    STAGES[0],
    STAGES[1],
    STAGES[2],
    STAGES[3],
];

const TEXTS: &[Reader] = &[
    (
        &[NO_RUN],
        &[
            "train --data corpus.txt --tokenizer char",
            "train --data corpus.txt --tokenizer byte",
            "train --data corpus.txt --tokenizer word",
            "train --data corpus.txt --tokenizer bpe:270",
            "train --data corpus.txt --tokenizer gpt2 --n-embd 2",
            "train --data corpus.txt --tokenizer word --architecture skipgram",
        ],
    ),
    (&["llama"], &["eval --model m --data corpus.txt"]),
];
const CONVERSATIONS: &[Reader] = &[(
    &["chat"],
    &[
        "finetune sft --model m --data turns.jsonl",
        "eval --model m --data turns.jsonl",
        "finetune ppo --model m --data turns.jsonl --reward {seeds}/reward --prompts 2 --samples 2 --max-tokens 4",
    ],
)];
const COMPARISONS: &[Reader] = &[(
    &["chat"],
    &["finetune reward --model m --data pairs.jsonl", "finetune dpo --model m --data pairs.jsonl"],
)];
const PRINCIPLES: &[Reader] = &[(
    &["chat"],
    &["finetune constitution --model m --principles principles.toml --data tales --questions 30 --samples 2"],
)];
const GGUF: &[Reader] = &[(
    &[NO_RUN],
    &[
        "inspect tensors --model types.gguf --stats",
        "inspect tensors --model types.gguf --json",
        "inspect tensors --model values.gguf",
    ],
)];
const MODELS: &[Reader] = &[(
    &[NO_RUN],
    &[
        "sample --model llama.gguf --prompt abc --max-tokens 3",
        "sample --model gemma.gguf --prompt abc --max-tokens 3",
        "inspect logits --model gemma.gguf --prompt abc",
        "tokenize --model llama.gguf --text abc",
        "convert --model llama.gguf --to hf --out c",
        "convert --model gemma.gguf --to hf --out c",
        "convert --model gemma.gguf --to gguf --dtype f16 --out c.gguf",
    ],
)];
const FAMILIES: &[Reader] = &[(
    &FAMILY,
    &[
        "sample --model m --prompt abc --max-tokens 3",
        "inspect logits --model m --prompt abc",
        "convert --model m --to hf --out c",
        "convert --model m --to gguf --out c.gguf",
    ],
)];
const TEMPLATES: &[Reader] = &[(
    &FAMILY,
    &[
        "tokenize --model m --chat turns.jsonl",
        "tokenize --model m --chat turns.jsonl --json",
        "chat --model m --max-tokens 5",
    ],
)];
const SHARDS: &[Reader] = &[(
    &[SHARDED],
    &[
        "inspect tensors --model m --stats",
        "sample --model m --prompt O --max-tokens 3",
        "eval --model m --data corpus.txt",
    ],
)];
const TALK: &[Reader] = &[(&["chat"], &["chat --model m --max-tokens 5"])];
const SETTINGS: &[Reader] = &[(&[NO_RUN], &["train --config own.toml --out n --quiet"])];

const fn target(
    share: usize,
    name: &'static str,
    damage: Damage,
    files: &'static [&'static str],
    readers: &'static [Reader],
) -> Target {
    Target { name, share, damage, files, readers, harmless: false }
}

const fn harmless(target: Target) -> Target {
    Target { harmless: true, ..target }
}

pub const TARGETS: &[Target] = &[
    target(10, "config.json", Values, &["m/config.json"], READERS),
    target(3, "config.json of a run", Values, &["m/config.json"], RUNS),
    target(6, "sizes", Size, &["m/config.json"], READERS),
    target(10, "model.safetensors", Tensors, &["m/model.safetensors"], READERS),
    target(6, "gguf", Gguf, &["types.gguf", "values.gguf"], GGUF),
    target(8, "a model in gguf", Gguf, &["llama.gguf", "gemma.gguf"], MODELS),
    target(6, "a family's config.json", Values, &["m/config.json"], FAMILIES),
    target(4, "a chat template", Template, &["m/chat_template.jinja"], TEMPLATES),
    target(3, "shards' index", Values, &["m/model.safetensors.index.json"], SHARDS),
    target(2, "a shard", Tensors, &["m/one.safetensors", "m/two.safetensors"], SHARDS),
    target(8, "state.safetensors", Tensors, &["m/state.safetensors"], RUNS),
    target(8, "tokenizer.json", Values, &["m/tokenizer.json"], READERS),
    target(2, "tokenizer.json of a run", Values, &["m/tokenizer.json"], RUNS),
    target(1, "tokenizer_config.json", Values, &["m/tokenizer_config.json"], READERS),
    target(6, "config.toml", Values, &["m/config.toml"], RUNS),
    target(6, "finetune.toml", Values, &["m/finetune.toml"], STAGES),
    target(
        3,
        "another model's",
        Exchange,
        &["m/config.json", "m/model.safetensors", "m/tokenizer.json"],
        READERS,
    ),
    target(
        2,
        "another run's",
        Exchange,
        &["m/config.toml", "m/state.safetensors", "m/tokenizer.json", "m/config.json"],
        RUNS,
    ),
    target(
        1,
        "a model without an end",
        Endless,
        &["m/config.json", "m/model.safetensors", "m/tokenizer.json"],
        READERS,
    ),
    target(
        1,
        "a run without an end",
        Endless,
        &["m/config.toml", "m/state.safetensors", "m/metrics.jsonl", "m/samples.txt", "m/tuning.json"],
        RUNS,
    ),
    target(1, "a text without an end", Endless, &["corpus.txt"], TEXTS),
    target(1, "conversations without an end", Endless, &["turns.jsonl"], CONVERSATIONS),
    target(1, "settings without an end", Endless, &["own.toml"], SETTINGS),
    target(6, "settings", Values, &["own.toml"], SETTINGS),
    target(10, "texts", Text, &["corpus.txt"], TEXTS),
    target(7, "conversations", Values, &["turns.jsonl"], CONVERSATIONS),
    target(5, "pairs", Values, &["pairs.jsonl"], COMPARISONS),
    target(1, "principles", Values, &["principles.toml"], PRINCIPLES),
    target(2, "what is said", Text, &["talk.txt"], TALK),
    harmless(target(2, "metrics.jsonl", Values, &["m/metrics.jsonl"], RUNS)),
    harmless(target(2, "samples.txt", Bytes, &["m/samples.txt"], RUNS)),
    harmless(target(1, "tuning.json", Values, &["m/tuning.json"], RUNS)),
    harmless(target(1, "a mark before a text", Mark, &["corpus.txt"], TEXTS)),
    harmless(target(1, "a mark before conversations", Mark, &["turns.jsonl"], CONVERSATIONS)),
    harmless(target(1, "a mark before pairs", Mark, &["pairs.jsonl"], COMPARISONS)),
    harmless(target(1, "a mark before settings", Mark, &["own.toml"], SETTINGS)),
    harmless(target(1, "a mark before a model's", Mark, &["m/config.json", "m/tokenizer.json"], READERS)),
    harmless(target(
        1,
        "a mark before a run's",
        Mark,
        &["m/config.toml", "m/config.json", "m/tokenizer.json"],
        RUNS,
    )),
    harmless(target(1, "a mark before a stage's", Mark, &["m/finetune.toml"], STAGES)),
];
