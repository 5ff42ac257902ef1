//! Every flag of every verb with what may be mistyped into it, files of impossible sizes, and files that are none: a
//! message and an exit code, and no panic, endless work or gigabytes.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "other tests read events")]
mod support;

use std::any::TypeId;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Arg;
use support::{base, file};

/// What is given to each flag.
const VALUES: [&str; 9] =
    ["0", "-1", "1e309", "nan", "18446744073709551615", "4611686018427387904", "1000000000000", "", "x"];

/// Longer is a hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that may take two gigabytes of addresses; more is an abort.
fn limited(arguments: &[String], folder: &Path) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\""]).arg(assert_cmd::cargo::cargo_bin("lal"));
    for variable in support::lal().get_envs().map(|(name, _)| name.to_owned()) {
        command.env_remove(variable);
    }
    command.args(arguments).current_dir(folder);
    let begun = Instant::now();
    let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output();
    assert!(begun.elapsed() < PATIENCE, "lal {} takes more than {PATIENCE:?}", arguments.join(" "));
    output.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A verb, and arguments with which it does a moment's work, or at least reads all numbers.
#[derive(Clone)]
struct Verb {
    path: Vec<String>,
    arguments: Vec<String>,
}

impl Verb {
    /// How it ends and what it says in a new folder, which stands as `{own}` in its arguments.
    fn run(&self, more: &[String], own: &Path) -> (Option<i32>, String) {
        fs::create_dir(own).unwrap();
        let place = own.display().to_string();
        let arguments: Vec<_> = self.path.iter().chain(&self.arguments).chain(more).cloned().collect();
        let arguments: Vec<_> = arguments.iter().map(|word| word.replace("{own}", &place)).collect();
        let output = limited(&arguments, own);
        fs::remove_dir_all(own).unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).replace(&place, "{own}"))
    }

    /// What is wrong with how it takes a value of a flag; `alone` is what it says without.
    fn complaint(&self, flag: &Arg, value: &str, own: &Path, alone: &str) -> Option<String> {
        let name = flag.get_long().unwrap_or_default();
        // The last of a flag counts.
        let more = match flag.get_long() {
            Some(name) => [format!("--{name}"), value.to_owned()],
            None => ["--".to_owned(), value.to_owned()],
        };
        let (code, told) = self.run(&more, own);
        let names = told.contains(&format!("--{name}")) || told.contains(&name.replace('-', "_"));
        let fine = match code {
            Some(0) => true,
            Some(1 | 2) if told == alone => true,
            Some(2) if is_number(flag) => names,
            Some(1 | 2) => names || told.contains(value),
            _ => false,
        };
        (!fine).then(|| format!("lal {} {}: {code:?}\n{told}", self.path.join(" "), more.join(" ")))
    }
}

/// Every verb that takes values; `{base}` and so on stand for what the test prepares.
const VERBS: [(&str, &str); 29] = [
    (
        "train",
        "{tiny} --data {text} --n-head 1 --n-embd 4 --n-layer 1 --block-size 8 --tokenizer byte --out {own}/out",
    ),
    ("finetune sft", "{tiny} --model {base} --data {chats} --out {own}/out"),
    ("finetune dpo", "{tiny} --model {base} --data {pairs} --out {own}/out"),
    ("finetune reward", "{tiny} --model {base} --data {pairs} --out {own}/out"),
    (
        "finetune ppo",
        "{tiny} --model {base} --data {chats} --max-tokens 4 --prompts 1 --samples 1 --out {own}/out",
    ),
    ("finetune constitution", "{tiny} --model {base} --data {chats} --out {own}/out"),
    ("chat", "--device cpu --model {base}"),
    ("sample", "--device cpu --model {base} --max-tokens 2"),
    ("eval", "--device cpu --model {base} --data {text}"),
    ("profile", "--device cpu --tokenizer none"),
    ("bench", "--device cpu --op none"),
    ("explain", "none"),
    ("verify", "--device cpu --op none"),
    ("inspect attention", "--device cpu --model {base} --prompt a"),
    ("inspect logits", "--device cpu --model {base} --prompt a"),
    ("inspect masked", "--device cpu --model {base} --prompt a"),
    ("inspect embeddings", "--model {base} --word a"),
    ("inspect tensors", "--model {base}"),
    ("embed", "--device cpu --model {base} --text a"),
    ("pull", "none"),
    ("ops", ""),
    ("data get", "none"),
    ("data prepare", "{own}/out --chars 10 --questions 1 --held-out 1"),
    ("data list", "--cache-dir {own}/cache"),
    ("data check", "--cache-dir {own}/cache"),
    ("data clean", "--cache-dir {own}/cache"),
    ("tokenize", "--tokenizer byte --text a"),
    ("convert", "--model {base} --to hf --out {own}/out"),
    ("completions", "bash"),
];

/// All verbs of a command that have none below them.
fn leaves(command: &clap::Command, path: &[String], found: &mut Vec<(Vec<String>, Vec<Arg>)>) {
    if !command.has_subcommands() {
        found.push((path.to_vec(), command.get_arguments().cloned().collect()));
    }
    for below in command.get_subcommands() {
        leaves(below, &[path, &[below.get_name().to_owned()]].concat(), found);
    }
}

fn is_number(flag: &Arg) -> bool {
    let of = flag.get_value_parser().type_id();
    let numbers = [TypeId::of::<usize>(), TypeId::of::<u64>(), TypeId::of::<f32>(), TypeId::of::<f64>()];
    numbers.iter().any(|number| of == *number)
}

#[test]
fn every_flag_takes_or_refuses_every_value() {
    let folder = tempfile::tempdir().unwrap();
    let (model, chats) = base(folder.path());
    let pair =
        |i| format!("{{\"prompt\": \"Say {i}!\", \"chosen\": \"It is {i}.\", \"rejected\": \"No.\"}}\n");
    let pairs = file(folder.path(), "pairs.jsonl", &(0..40).map(pair).collect::<String>());
    let text = file(folder.path(), "text", &"a text to learn from, and some more. ".repeat(30));
    let fill = |line: &str| {
        let tiny = "--device cpu --batch-size 1 --steps 1 --eval-iters 1 --sample-tokens 0 --quiet";
        let model = model.display().to_string();
        let known = [("{tiny}", tiny), ("{base}", &model), ("{chats}", &chats), ("{pairs}", &pairs)];
        let known = known.into_iter().chain([("{text}", text.as_str())]);
        words(&known.fold(line.to_owned(), |line, (name, value)| line.replace(name, value)))
    };

    let mut verbs = Vec::new();
    leaves(&lal::cli::command(), &[], &mut verbs);
    let (mut work, mut walked) = (Vec::new(), HashSet::new());
    for (path, flags) in verbs {
        let flags: Vec<Arg> = flags.into_iter().filter(|flag| flag.get_action().takes_values()).collect();
        let Some((_, line)) = VERBS.iter().find(|(verb, _)| words(verb) == path) else {
            assert!(flags.is_empty(), "no line for lal {}", path.join(" "));
            continue;
        };
        let verb = Verb { path, arguments: fill(line) };
        let (_, alone) = verb.run(&[], &folder.path().join("alone"));
        for flag in flags {
            // Which adapters there are is the machine's to say, and settings are the same in all stages.
            let seen =
                flag.get_env().is_some() && !walked.insert((verb.path[0].clone(), flag.get_id().clone()));
            if flag.get_id() != "device" && !seen {
                work.extend(VALUES.map(|value| (verb.clone(), flag.clone(), value, alone.clone())));
            }
        }
    }
    assert!(work.len() > 1000, "{} is not every flag", work.len());

    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((verb, flag, value, alone)) = work.get(number) else { return };
                    let own = folder.path().join(format!("run-{number}"));
                    complaints.lock().unwrap().extend(verb.complaint(flag, value, &own, alone));
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), work.len(), complaints.join("\n"));
}

/// What the program says when it ends with this exit code.
fn refused(line: &str, code: i32, folder: &Path) -> String {
    let output = limited(&words(line), folder);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "lal {line}: {told}");
    told
}

/// A text of two megabytes, longer than any block here.
fn long_text(folder: &Path) -> String {
    file(folder, "text", &"a text to learn from, and some more. ".repeat(60_000))
}

const TINY: &str = "--device cpu --steps 1 --quiet";

#[test]
fn sizes_of_files_have_the_ranges_of_flags() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let text = long_text(folder.path());
    for (settings, told) in [
        ("n_inner = 4611686018427387904\nn_embd = 32", "n_inner = 4611686018427387904"),
        ("n_embd = 2305843009213693952", "n_embd = 2305843009213693952"),
        ("steps = 9223372036854775807", "steps = 9223372036854775807"),
        ("steps = 9223372036854775808", "steps"),
        ("batch_size = -1", "batch_size"),
        ("learning_rate = inf", "learning_rate = inf"),
        ("weight_decay = nan", "weight_decay = NaN"),
    ] {
        let config = file(folder.path(), "config.toml", settings);
        let error = refused(&format!("train {TINY} --data {text} --config {config}"), 2, folder.path());
        assert!(error.contains(told), "{error}");
    }
    let config = model.join("config.json");
    let written = fs::read_to_string(&config).unwrap();
    for (size, told) in [
        ("200000", "n_layer = 200000"),
        ("18446744073709551615", "n_layer = 18446744073709551615"),
        // Within its range, and more than the file beside it can hold.
        ("900", "numbers"),
    ] {
        fs::write(&config, written.replace("\"n_layer\": 2", &format!("\"n_layer\": {size}"))).unwrap();
        for verb in ["sample", "chat", "eval", "finetune sft --steps 1 --data tales"] {
            let line = format!("{verb} --device cpu --model {}", model.display());
            let output = limited(&words(&line), folder.path());
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(1 | 2)) && error.contains(told),
                "lal {line}: {error}"
            );
        }
    }
}

/// A gigabyte of addresses is not enough for any of these, and none of them is begun.
#[test]
fn what_does_not_fit_is_refused_before_it_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let text = long_text(folder.path());
    for sizes in [
        "--n-layer 1000 --n-embd 16384",
        "--n-embd 1048576",
        "--n-inner 4194304 --n-layer 1000",
        "--batch-size 4294967296",
        "--batch-size 100000000 --grad-accum 1048576",
        "--block-size 100000 --n-layer 1000",
    ] {
        let error = refused(&format!("train {TINY} --data {text} {sizes}"), 1, folder.path());
        assert!(error.contains("MiB of memory are needed") && error.contains("--batch-size"), "{error}");
        let error = refused(&format!("profile --device cpu {sizes}"), 1, folder.path());
        assert!(error.contains("MiB of memory are needed"), "{error}");
    }
    let long = "--preset rnn-mini --block-size 100000 --n-layer 100";
    assert!(
        refused(&format!("train {TINY} --data {text} {long}"), 2, folder.path())
            .contains("block_size = 100000")
    );
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn what_is_no_file_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let sparse = folder.path().join("sparse");
    fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    let (pipe, sparse, place) =
        (pipe.display().to_string(), sparse.display().to_string(), folder.path().display().to_string());
    let own = model.display();
    let nothing = tempfile::tempdir().unwrap();
    let empty = nothing.path().display().to_string();
    for (path, told) in
        [(pipe.as_str(), "a pipe"), ("/dev/zero", "a device"), (&place, "a folder"), (&sparse, "room for")]
    {
        for line in [
            format!("train {TINY} --data {path}"),
            format!("train {TINY} --config {path}"),
            format!("eval --device cpu --model {own} --data {path}"),
            format!("finetune sft {TINY} --model {own} --data {path}"),
            format!("finetune dpo {TINY} --model {own} --data {path}"),
            format!("finetune constitution {TINY} --model {own} --data tales --principles {path}"),
        ] {
            // A folder of texts is something to learn from; this one has none.
            let of_texts = (line.starts_with("train") || line.starts_with("eval")) && line.contains("--data");
            let (path, told) =
                if told == "a folder" && of_texts { (&*empty, "no texts") } else { (path, told) };
            let line = if told == "no texts" {
                line.replace(&format!("--data {place}"), &format!("--data {path}"))
            } else {
                line
            };
            let output = limited(&words(&line), folder.path());
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(1 | 2)), "lal {line}: {error}");
            assert!(error.contains(told) && error.contains(path), "lal {line}: {error}");
        }
    }
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let (file, kept) = (model.join(name), model.join("kept"));
        fs::rename(&file, &kept).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let error = limited(&words(&format!("sample --device cpu --model {own}")), folder.path());
        let error = String::from_utf8_lossy(&error.stderr).into_owned();
        assert!(error.contains(name) && error.contains("a pipe"), "{error}");
        fs::rename(&kept, &file).unwrap();
    }
}
