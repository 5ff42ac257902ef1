//! Damaged files and senseless flags: whatever comes, Lal ends with a documented exit code, within 10 s and 1 GB.
//!
//! Every case is the program itself with one file damaged, or other flags; what a right file comes to is made by
//! the program first. What harms nobody (a mark before a text, a damaged journal) must be passed over.
//!
//! | variable | means |
//! |---|---|
//! | `LAL_FUZZ_CASES` | how many cases [default: a minute's worth] |
//! | `LAL_FUZZ_SEED` | other cases [default: 1] |
//! | `LAL_FUZZ_CASE` | only this one |
//! | `LAL_FUZZ_ABOUT` | only those about these, such as `flags` or `config,texts` |
//! | `LAL_FUZZ_KEEP` | a folder to keep what was found in |
//! | `LAL_FUZZ_DEVICE` | what computes [default: cpu] |
//!
//! `LAL_FUZZ_CASES=100000 LAL_FUZZ_SEED=2 cargo test --release --test fuzz -- --nocapture`

mod cases;
mod damage;
mod dice;
mod flags;
mod seeds;
mod targets;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cases::{Cases, Tried};
use watch::{Ending, Limits, watch};

/// As many as two cores try within a minute.
const CASES: u64 = 4000;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is {value:?}, and should be a number")))
}

#[test]
fn whatever_comes_is_answered() {
    let device = std::env::var("LAL_FUZZ_DEVICE").unwrap_or("cpu".into());
    let about = std::env::var("LAL_FUZZ_ABOUT").unwrap_or_default();
    let seed = number("LAL_FUZZ_SEED").unwrap_or(1);
    // Files that live for milliseconds need no disk.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let root = root.expect("there is a place for temporary files");
    let files = root.path().join("seeds");
    std::fs::create_dir(&files).expect("the folder is new");
    let mut cases = Cases::new(&files, &device, seed);

    let scratch = |name: &str| root.path().join(name);
    assert_eq!(cases.wrong_readers(&scratch("right")), Vec::<String>::new());
    let numbers = match number("LAL_FUZZ_CASE") {
        Some(only) => only..only + 1,
        None => 0..number("LAL_FUZZ_CASES").unwrap_or(CASES),
    };
    let (begun, total) = (Instant::now(), numbers.end - numbers.start);
    let (next, found) = (AtomicU64::new(numbers.start), Mutex::new(Vec::new()));
    let work = |worker: usize| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                break;
            }
            if !about.split(',').any(|about| cases.about(number).contains(about)) {
                continue;
            }
            let tried = cases.run(number, &scratch(&format!("worker{worker}")));
            if !tried.ending.is_fine() {
                eprintln!("case {number}, {}: {}\n  {}", tried.target, tried.ending, tried.command);
                found.lock().expect("no worker panics with it").push(tried);
            } else if number % 1000 == 999 {
                eprintln!("{} of {total} cases, {:.0} s", number + 1, begun.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|worker| drop(scope.spawn(move || work(worker))));
    });
    let found = found.into_inner().expect("no worker panics with it");
    eprintln!("{total} cases in {:.0} s, {} findings", begun.elapsed().as_secs_f64(), found.len());
    if let Some(kept) = std::env::var_os("LAL_FUZZ_KEEP") {
        found.iter().for_each(|tried| cases.keep(tried, &scratch("keep"), Path::new(&kept)));
    }
    assert!(found.is_empty(), "{}", report(found, seed));
}

fn report(mut found: Vec<Tried>, seed: u64) -> String {
    found.sort_by_key(|tried| tried.number);
    let mut kinds: BTreeMap<String, Vec<&Tried>> = BTreeMap::new();
    for tried in &found {
        kinds.entry(tried.kind()).or_default().push(tried);
    }
    let mut text = format!("{} findings of {} kinds", found.len(), kinds.len());
    for (kind, tried) in kinds {
        let Tried { number, target, command, ending } = tried[0];
        let count = tried.len();
        text += &format!(
            "\n\n{kind} ({count} times)\n  {target}: {ending}\n  {command}\n  again: LAL_FUZZ_SEED={seed} LAL_FUZZ_CASE={number} cargo test --release --test fuzz"
        );
    }
    text
}

/// Ends in the ways that are findings, for the test below.
#[test]
#[ignore = "it is run by the test below"]
fn misbehave() {
    let Ok(how) = std::env::var("LAL_FUZZ_MISBEHAVE") else { return };
    let mut hoard = Vec::new();
    match how.as_str() {
        "panic" => panic!("on purpose"),
        "abort" => std::process::abort(),
        "hang" => std::thread::sleep(Duration::from_secs(60)),
        "hoard" => (0..3000_usize).for_each(|_| {
            hoard.push(vec![1_u8; 1 << 20]);
            std::thread::sleep(Duration::from_millis(5));
        }),
        _ => {}
    }
}

#[test]
fn what_ends_badly_is_noticed() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let limits = Limits { time: Duration::from_secs(20), bytes: 200 << 20 };
    let ending = |how: &str, limits: Limits| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["--ignored", "--exact", "misbehave", "--nocapture"]).env("LAL_FUZZ_MISBEHAVE", how);
        watch(&mut command, &folder.path().join("said.txt"), limits)
    };
    assert_eq!(ending("well", limits), Ending::Exit(0));
    assert!(matches!(ending("panic", limits), Ending::Panic(what) if what.contains("on purpose")));
    assert!(matches!(ending("abort", limits), Ending::Crash(_)));
    let short = Limits { time: Duration::from_millis(300), ..limits };
    assert_eq!(ending("hang", short), Ending::Hang(short.time));
    assert!(matches!(ending("hoard", limits), Ending::Memory(bytes) if bytes > limits.bytes));
}
