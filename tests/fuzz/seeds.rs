//! What is right before it is damaged: tiny runs of every kind, and data for every stage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lal::interop::container::{Container, ContainerError};
use lal::interop::dtype::Dtype;
use lal::interop::writer::{NewTensor, safetensors};
use serde_json::{Map, Value, json};

use crate::targets::{FAMILY, NO_RUN, SHARDED};

/// Runs, each in a folder of this name, and how they are made.
const RUNS: [(&str, &str); 11] = [
    ("gpt", "train --data corpus.txt --tokenizer char --block-size 16"),
    (PUBLISHED, "train --data corpus.txt --tokenizer char --block-size 16 --bias true"),
    (
        "bpe",
        "train --data corpus.txt --tokenizer bpe:260 --block-size 16 --n-kv-head 1 --position alibi --tied false",
    ),
    (
        "llama",
        "train --data corpus.txt --tokenizer byte --block-size 320 --batch-size 1 --position rope --norm rms \
         --feed-forward swiglu",
    ),
    ("lstm", "train --data corpus.txt --tokenizer word --block-size 8 --architecture lstm"),
    ("bert", "train --data corpus.txt --tokenizer char --block-size 16 --causal false"),
    ("skipgram", "train --data corpus.txt --tokenizer word --block-size 3 --architecture skipgram"),
    ("chat", "finetune sft --model {seeds}/llama --data chats.jsonl --lora-rank 2"),
    ("reward", "finetune reward --model {seeds}/chat --data pairs.jsonl"),
    ("dpo", "finetune dpo --model {seeds}/chat --data pairs.jsonl"),
    (
        "ppo",
        "finetune ppo --model {seeds}/chat --data chats.jsonl --reward {seeds}/reward --prompts 2 --samples 2 \
         --max-tokens 4",
    ),
];

/// A GPT-2 without what Lal adds to its config.json.
const PUBLISHED: &str = "published";

/// What is asked of every run that is begun, so that it is short.
const SHAPE: &str = "--n-layer 1 --n-head 2 --n-embd 8 --block-size 4";
const SHORT: &str = "--batch-size 2 --steps 2 --eval-iters 1 --eval-every 2 --save-every 1 --sample-tokens 2 \
                     --warmup-steps 1 --quiet --out n";
/// Verbs that compute nothing, or not by default.
const NO_DEVICE: [&str; 8] =
    ["convert", "data", "tokenize", "ops", "devices", "completions", "inspect embeddings", "inspect tensors"];

/// How a published model has conversations.
const TEMPLATE: &str = "{%- if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}{% set messages = \
messages[1:] %}{% endif %}{% for message in messages %}{{ 'a' + message['role'] + 'b' + message['content'].strip() + \
'c' }}{% if not loop.last %}{{ 'd' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'aassistantb' }}{% endif %}";

pub struct Seeds {
    root: PathBuf,
    device: String,
}

impl Seeds {
    /// Makes everything in `root`; commands compute on `device`.
    pub fn make(root: PathBuf, device: &str) -> Self {
        let seeds = Self { root, device: device.to_owned() };
        seeds.write_data();
        #[cfg(unix)]
        {
            let made = Command::new("mkfifo").arg(seeds.path("pipe")).status();
            assert!(made.is_ok_and(|status| status.success()), "mkfifo is part of every Unix");
        }
        for (name, how) in RUNS {
            let command = format!("{how} --out {name}");
            let output =
                seeds.lal(&seeds.root, &command).output().expect("the program is built with the tests");
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            // On the CPU a run chooses no kernels, but reads what was chosen.
            seeds
                .put(&format!("{name}/tuning.json"), "{\"matmul 8x8\": \"tiled\", \"softmax 8\": \"naive\"}");
        }
        let config = seeds.path(PUBLISHED).join("config.json");
        let text = fs::read_to_string(&config).expect("a run has sizes");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("the config of a run is JSON");
        json.as_object_mut().expect("it is an object").remove("lal");
        fs::write(config, json.to_string()).expect("the scratch folder can be written to");
        seeds.shard();
        FAMILY.iter().for_each(|name| seeds.publish(name));
        fs::copy(seeds.root.join("gpt/config.toml"), seeds.root.join("own.toml"))
            .expect("a run has settings");
        seeds
    }

    fn write_data(&self) {
        let verse = "O for a Muse of fire, that would ascend\nThe brightest heaven of invention!\n";
        let lines = |line: fn(usize) -> String| (0..40).map(line).collect::<String>();
        self.put("corpus.txt", &verse.repeat(60));
        let chat = |i| format!("{{\"prompt\": \"Say {i}!\", \"response\": \"It is {i}.\"}}\n");
        self.put("chats.jsonl", &lines(chat));
        let turn = |role, i| format!("{{\"role\": \"{role}\", \"content\": \"Say {i}!\"}}");
        self.put(
            "turns.jsonl",
            &(0..40)
                .map(|i| format!("{{\"messages\": [{}, {}]}}\n", turn("user", i), turn("assistant", i)))
                .collect::<String>(),
        );
        let pair = |i| format!("{{\"prompt\": \"Say {i}!\", \"chosen\": \"{i}\", \"rejected\": \"No.\"}}\n");
        self.put("pairs.jsonl", &lines(pair));
        self.put("talk.txt", "Say 1!\n/temperature 0.7\n/save talk.jsonl\nSay \\\n2!\n/reset\n/help\n");
        for (name, bytes) in [
            ("types.gguf", &include_bytes!("../golden/containers/types.gguf")[..]),
            ("values.gguf", include_bytes!("../golden/containers/values.gguf")),
            ("llama.gguf", include_bytes!("../golden/gguf/llama_scaled.gguf")),
            ("gemma.gguf", include_bytes!("../golden/gguf/gemma3.gguf")),
        ] {
            fs::write(self.path(name), bytes).expect("the scratch folder can be written to");
        }
        self.put("principles.toml", include_str!("../../data/constitution.toml"));
    }

    /// Makes [`SHARDED`]: every other tensor in another file, in BF16.
    fn shard(&self) {
        let (from, to) = (self.path(PUBLISHED), self.path(SHARDED));
        fs::create_dir(&to).expect("the folder is new");
        copy(&from, &to);
        fs::remove_file(to.join("model.safetensors")).expect("it was copied");
        let whole = Container::open(&from).expect("a run has a model");
        let mut map = Map::new();
        for (part, dtype) in [Dtype::F32, Dtype::BF16].into_iter().enumerate() {
            let file = ["one.safetensors", "two.safetensors"][part];
            let tensors: Vec<_> = whole.tensors().iter().skip(part).step_by(2).collect();
            let new = tensors.iter().map(|tensor| {
                map.insert(tensor.name.clone(), file.into());
                NewTensor { name: tensor.name.clone(), shape: tensor.shape.clone(), dtype }
            });
            let new: Vec<_> = new.collect();
            let written = safetensors(&to.join(file), &new, ("format", "pt"), |place, sink| {
                whole.read(tensors[place], 0..tensors[place].rows(), |part| sink.elements(part))
            });
            let written = written.and_then(|file| file.commit().map_err(ContainerError::from));
            written.expect("the scratch folder can be written to");
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": Value::Object(map)});
        self.put(&format!("{SHARDED}/model.safetensors.index.json"), &index.to_string());
    }

    /// Makes a tiny published model with a tokenizer and the form of its conversations.
    fn publish(&self, name: &str) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(name);
        fs::create_dir(self.path(name)).expect("the folder is new");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(golden.join(file), self.path(name).join(file)).expect("there is room for a copy");
        }
        let letters: Map<_, _> = ('a'..='z')
            .chain('A'..='C')
            .chain(['\u{120}', '\u{10a}'])
            .map(String::from)
            .zip((0..31).map(Value::from))
            .collect();
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let tokenizer = json!({
            "version": "1.0", "pre_tokenizer": bytes, "decoder": bytes, "added_tokens": [],
            "model": {"type": "BPE", "vocab": Value::Object(letters), "merges": []},
        });
        self.put(&format!("{name}/tokenizer.json"), &tokenizer.to_string());
        self.put(&format!("{name}/chat_template.jinja"), TEMPLATE);
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).expect("the scratch folder can be written to");
    }

    /// A file of a run, or of data.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The names of all runs.
    pub fn runs() -> [&'static str; RUNS.len()] {
        RUNS.map(|(name, _)| name)
    }

    /// The program in a folder, out of reach of what is outside of it: no network, no settings, no caches.
    pub fn program(folder: &Path) -> Command {
        let mut lal = Command::new(env!("CARGO_BIN_EXE_lal"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LAL_")) {
            lal.env_remove(name);
        }
        for home in ["HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA", "XDG_CACHE_HOME"] {
            lal.env(home, folder);
        }
        lal.env("ALL_PROXY", "http://127.0.0.1:9").env_remove("RUST_BACKTRACE").current_dir(folder);
        lal
    }

    fn lal(&self, folder: &Path, command: &str) -> Command {
        let mut lal = Self::program(folder);
        lal.args(self.arguments(command));
        lal
    }

    /// The verb, what is asked of every run, and then what the command asks for.
    pub fn arguments(&self, command: &str) -> Vec<String> {
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut all = split(command);
        let begins = !["--resume", "--config"].iter().any(|flag| command.contains(flag));
        let more = match all[0].as_str() {
            "train" if begins => vec![SHAPE, SHORT],
            "finetune" if begins => vec![SHORT],
            _ => vec![],
        };
        let verbs = if all[0] == "finetune" { 2 } else { 1 };
        all.splice(verbs..verbs, more.into_iter().flat_map(split));
        if !NO_DEVICE.iter().any(|verb| command.starts_with(verb)) {
            all.extend(["--device".to_owned(), self.device.clone()]);
        }
        let root = self.root.display().to_string();
        all.iter().map(|word| word.replace("{seeds}", &root)).collect()
    }

    /// Copies data and, as `m`, the run `name` into an empty folder.
    pub fn copy(&self, name: &str, to: &Path) {
        copy(&self.root, to);
        if name != NO_RUN {
            fs::create_dir(to.join("m")).expect("the folder is empty");
            copy(&self.root.join(name), &to.join("m"));
        }
        for (name, place) in self.endless() {
            link(&place, &to.join(name));
        }
    }

    /// Files that have no end, and what they are called in the folder of a case.
    pub fn endless(&self) -> Vec<(&'static str, PathBuf)> {
        if cfg!(unix) { vec![("pipe", self.path("pipe")), ("zeros", "/dev/zero".into())] } else { Vec::new() }
    }
}

/// Copies the files of a folder, but no folders in it. A copy is no link: a seed is never changed through it.
pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("there is room for a copy");
        }
    }
}

/// A link at `to`: what is written there by renaming replaces the link, and never the device.
pub fn link(place: &Path, to: &Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(place, to).expect("the folder is empty");
    #[cfg(not(unix))]
    unreachable!("{} and {}: only Unix has files without an end", place.display(), to.display());
}
