//! Runs that are killed at random moments, and continued until they end: to the bit as if nothing had happened.
//!
//! `LAL_KILLS` says how often, 25 times by default, and `LAL_KILLS_SEED` at which moments. `LAL_KILLS_DEVICE=gpu` does
//! it on the first adapter, which may be a software one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

/// A command that begins a run, and how that is continued.
struct Kind {
    name: &'static str,
    verb: Vec<&'static str>,
    begin: Vec<String>,
    /// Of every hundred kills so many are this kind's: long runs have fewer.
    share: usize,
}

/// An undisturbed run.
struct Whole {
    files: BTreeMap<String, Vec<u8>>,
    took: Duration,
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn device() -> String {
    setting("LAL_KILLS_DEVICE").unwrap_or_else(|| "cpu".into())
}

fn lal(verb: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("lal"));
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LAL_")) {
        command.env_remove(variable);
    }
    // Several runs at once; and no kernel is chosen by how long it takes.
    command.env("RAYON_NUM_THREADS", "1").args(verb).args([
        "--quiet",
        "--no-autotune",
        "--device",
        &device(),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Kind {
    fn begin(&self, out: &Path) -> Command {
        let mut command = lal(&self.verb);
        command.args(&self.begin).arg("--out").arg(out);
        command
    }

    fn resume(&self, run: &Path) -> Command {
        let mut command = lal(&self.verb);
        command.arg("--resume").arg(run);
        command
    }
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A run of each kind, as short as it can be with checkpoints, estimates and samples at steps of their own.
fn kinds(folder: &Path) -> Vec<Kind> {
    let text = file(folder, "own.txt", &"All that glisters is not gold. ".repeat(40));
    let lines = |line: fn(usize) -> String| (0..20).map(line).collect::<String>();
    let chats = file(
        folder,
        "chats.jsonl",
        &lines(|i| format!("{{\"prompt\": \"{i}\", \"response\": \"It is {i}.\"}}\n")),
    );
    let pairs = file(
        folder,
        "pairs.jsonl",
        &lines(|i| format!("{{\"prompt\": \"{i}\", \"chosen\": \"{i}\", \"rejected\": \"no\"}}\n")),
    );
    let shape = "--tokenizer byte --n-layer 1 --n-head 1 --n-embd 8 --block-size 24 --position rope";
    let pace = "--steps 24 --batch-size 2 --warmup-steps 3 --eval-every 5 --eval-iters 1 --sample-tokens 4 \
                --save-every 3";
    let model = |name: &str| folder.join(name).display().to_string();
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let kind = |name, verb: &[&'static str], begin: String, share| Kind {
        name,
        verb: verb.to_vec(),
        begin: words(&format!("{begin} {pace}")),
        share,
    };
    let train = kind("train", &["train"], format!("--data {text} {shape} --dropout 0.1 --grad-accum 2"), 40);
    let [base, reward, tales] = ["base", "reward", "tales"].map(model);
    run(&mut train.begin(Path::new(&base)));
    let from = format!("--model {base}");
    run(&mut kind("reward", &["finetune", "reward"], format!("{from} --data {pairs}"), 0)
        .begin(Path::new(&reward)));
    // Questions about tales want room for a tale.
    let shape = "--tokenizer bpe:1024 --n-layer 1 --n-head 1 --n-embd 8 --block-size 128 --position rope";
    run(&mut kind("tales", &["train"], format!("--data tales {shape}"), 0).begin(Path::new(&tales)));
    vec![
        train,
        kind("sft", &["finetune", "sft"], format!("{from} --data {chats} --lora-rank 2 --dropout 0.1"), 25),
        kind("dpo", &["finetune", "dpo"], format!("{from} --data {pairs}"), 15),
        kind(
            "ppo",
            &["finetune", "ppo"],
            format!(
                "{from} --data {chats} --reward {reward} --prompts 2 --samples 2 --epochs 2 --max-tokens 4"
            ),
            15,
        ),
        kind(
            "constitution",
            &["finetune", "constitution"],
            format!("--model {tales} --data tales --questions 20"),
            5,
        ),
    ]
}

/// All files of a run but for wall times.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(run).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            let timeless = |line: &str| {
                let mut metric: Value = serde_json::from_str(line).unwrap();
                metric.as_object_mut().unwrap().remove("ms");
                format!("{metric}\n")
            };
            if name != "metrics.jsonl" {
                return (name, bytes);
            }
            let metrics: String = std::str::from_utf8(&bytes).unwrap().lines().map(timeless).collect();
            (name, metrics.into_bytes())
        })
        .collect()
}

/// Begins a run and kills it, and what continues it, at random moments; at last it goes on to its end. How often it was
/// killed.
fn disturb(kind: &Kind, whole: &Whole, run: &Path, kills: usize, rng: &mut ChaCha8Rng) -> usize {
    // Where there are no settings yet there is no run, and the folder is free.
    let next = || if run.join("config.toml").exists() { kind.resume(run) } else { kind.begin(run) };
    let mut moments = Vec::new();
    let goes_on = |output: Output, moments: &[Duration]| {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} killed after {moments:?} does not go on: {error}", kind.name);
    };
    for _ in 0..kills {
        let moment = whole.took.mul_f64(1.05 * f64::from(rng.next_u32()) / f64::from(u32::MAX));
        let mut child = next().spawn().unwrap();
        let begun = Instant::now();
        let has_ended = loop {
            let left = moment.saturating_sub(begun.elapsed());
            if child.try_wait().unwrap().is_some() || left.is_zero() {
                break !left.is_zero();
            }
            std::thread::sleep(left.min(Duration::from_millis(1)));
        };
        if has_ended {
            goes_on(child.wait_with_output().unwrap(), &moments);
            break;
        }
        // SIGKILL on Unix: nothing of the program runs any more.
        child.kill().unwrap();
        child.wait_with_output().unwrap();
        moments.push(moment);
    }
    goes_on(next().output().unwrap(), &moments);
    let files = files(run);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&whole.files), "{} killed after {moments:?}", kind.name);
    for (name, bytes) in &files {
        assert!(*bytes == whole.files[name], "{name} of {} killed after {moments:?} differs", kind.name);
    }
    moments.len()
}

#[test]
fn nothing_is_lost_at_whatever_moment_a_run_is_killed() {
    let number = |name: &str, otherwise: u64| {
        setting(name)
            .map_or(otherwise, |value| value.parse().expect("LAL_KILLS and LAL_KILLS_SEED are numbers"))
    };
    let (kills, seed) = (number("LAL_KILLS", 25), number("LAL_KILLS_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let kinds: Vec<(Kind, Whole)> = kinds(folder.path())
        .into_iter()
        .map(|kind| {
            let (run, begun) = (folder.path().join(format!("whole {}", kind.name)), Instant::now());
            let output = kind.begin(&run).output().unwrap();
            assert!(output.status.success(), "{}: {}", kind.name, String::from_utf8_lossy(&output.stderr));
            let took = begun.elapsed();
            (kind, Whole { files: files(&run), took })
        })
        .collect();
    // Kills still to come, by kind; and the runs begun.
    let left =
        Mutex::new(kinds.iter().map(|(kind, _)| (kill_share(kind, kills)) as isize).collect::<Vec<_>>());
    let runs = AtomicUsize::new(0);
    let work = || loop {
        let begun = runs.fetch_add(1, Ordering::SeqCst);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(begun as u64);
        let (which, wanted) = {
            let mut left = left.lock().unwrap();
            let Some(which) = (0..left.len()).filter(|&kind| left[kind] > 0).max_by_key(|&kind| left[kind])
            else {
                break;
            };
            let wanted = (1 + rng.next_u32() as isize % 3).min(left[which]);
            left[which] -= wanted;
            (which, wanted)
        };
        let (kind, whole) = &kinds[which];
        let run = folder.path().join(format!("{} {begun}", kind.name));
        let killed = disturb(kind, whole, &run, wanted as usize, &mut rng);
        left.lock().unwrap()[which] += wanted - killed as isize;
        fs::remove_dir_all(&run).unwrap();
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    for (kind, whole) in &kinds {
        println!("{}: {} kills in runs of {:.2?}", kind.name, kill_share(kind, kills), whole.took);
    }
}

/// How many of all kills are of a kind; one at least.
fn kill_share(kind: &Kind, kills: u64) -> u64 {
    (kills * kind.share as u64 / 100).max(1)
}
