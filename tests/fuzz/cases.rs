//! Cases: each a function of the seed and its number.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::damage::Damage;
use crate::dice::Dice;
use crate::flags::{self, Verb};
use crate::seeds::{Seeds, copy};
use crate::targets::{TARGETS, Target};
use crate::watch::{Ending, Limits, watch};

/// A program may take as long, and as many bytes.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 1 << 30 };
/// How long a case is watched that asks for much work.
const PATIENCE: Duration = Duration::from_secs(1);
/// The share of flags among all cases, as a weight.
const FLAGS: usize = 24;

pub struct Cases {
    seeds: Seeds,
    verbs: Vec<Verb>,
    seed: u64,
    /// The commands of readers that refuse a run as it is.
    refused: BTreeSet<(&'static str, &'static str)>,
}

/// What was tried, and how it ended.
pub struct Tried {
    pub number: u64,
    pub target: &'static str,
    pub command: String,
    pub ending: Ending,
}

impl Tried {
    /// What cases that end in the same way have in common.
    pub fn kind(&self) -> String {
        match &self.ending {
            Ending::Panic(what) => format!("panic at {what}").chars().take(120).collect(),
            Ending::Memory(_) => format!("memory: {}", self.target),
            other => format!("{other}: {}", self.target).chars().take(120).collect(),
        }
    }
}

/// A program with all it needs.
struct Case {
    target: &'static str,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Whether only success is right.
    harmless: bool,
    /// Whether not to end is right.
    long: bool,
}

impl Cases {
    /// Those of `seed`; `root` is for the seeds of files.
    pub fn new(root: &Path, device: &str, seed: u64) -> Self {
        let seeds = Seeds::make(root.to_owned(), device);
        let verbs = flags::verbs().into_iter().collect();
        Self { seeds, verbs, seed, refused: BTreeSet::new() }
    }

    /// Runs a case in the folder `scratch`, which is emptied first.
    pub fn run(&self, number: u64, scratch: &Path) -> Tried {
        let here = emptied(scratch);
        let case = self.make(number, &here);
        let ending = self.watch(&case, scratch, &here);
        let variables = case.variables.iter().map(|(name, value)| format!("{name}={value:?} "));
        let arguments = case.arguments.iter().map(|argument| match argument.contains(char::is_whitespace) {
            true => format!("{argument:?} "),
            false => format!("{argument} "),
        });
        let mut command: String = variables.chain(["lal ".to_owned()]).chain(arguments).collect();
        if command.len() > 2000 {
            command = format!("{}…", command.chars().take(2000).collect::<String>());
        }
        Tried { number, target: case.target, command, ending }
    }

    /// What the case is about: a target's name, or `flags`.
    pub fn about(&self, number: u64) -> &'static str {
        target(&mut Dice::new(self.seed, number)).map_or("flags", |target| target.name)
    }

    fn make(&self, number: u64, here: &Path) -> Case {
        let mut dice = Dice::new(self.seed, number);
        if let Some(target) = target(&mut dice) {
            return self.damaged(&mut dice, target, here);
        }
        let verb = flags::pick(&mut dice, &self.verbs);
        let (run, arguments, variables) = flags::change(&mut dice, verb, &self.seeds);
        self.seeds.copy(run, here);
        let said: Vec<String> = variables.iter().map(|(name, value)| format!("{name} {value} ")).collect();
        // What computes is not chosen here, and may be slow.
        let chosen = arguments.iter().any(|argument| argument.starts_with("--device="));
        let long = chosen || flags::asks_for_work(&(said.concat() + &arguments.join(" ")));
        Case { target: "flags", arguments, variables, harmless: false, long }
    }

    fn damaged(&self, dice: &mut Dice, target: &Target, here: &Path) -> Case {
        let (runs, commands) = target.readers[dice.below(target.readers.len())];
        let (run, command) = (dice.pick(runs), dice.pick(commands));
        self.seeds.copy(run, here);
        let file = here.join(dice.pick(target.files));
        target.damage.apply(dice, &file, &self.seeds);
        let settings = target.damage == Damage::Values && file.extension().is_some_and(|name| name == "toml");
        let text = if settings { fs::read(&file).unwrap_or_default() } else { Vec::new() };
        let text = String::from_utf8_lossy(&text);
        // A run has as many steps as its preset where its settings, cut off, name none.
        let long = flags::asks_for_work(&text) || settings && !text.contains("steps");
        let arguments = self.seeds.arguments(command);
        let harmless = target.harmless && !self.refused.contains(&(run, command));
        Case { target: target.name, arguments, variables: Vec::new(), harmless, long }
    }

    fn watch(&self, case: &Case, scratch: &Path, here: &Path) -> Ending {
        let said = scratch.join("said.txt");
        let mut lal = Seeds::program(here);
        lal.args(&case.arguments).envs(case.variables.iter().cloned()).stdin(typed(here));
        let limits = if case.long { Limits { time: PATIENCE, ..LIMITS } } else { LIMITS };
        match watch(&mut lal, &said, limits) {
            Ending::Hang(_) if case.long => Ending::Exit(0),
            Ending::Exit(code) if case.harmless && code != 0 => {
                let text = fs::read(&said).unwrap_or_default();
                Ending::Refused(String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned())
            }
            ending => ending,
        }
    }

    /// The readers that do not read what is right: runs that no command takes, and commands that take no run. What only
    /// some of a reader's commands take is no finding later.
    pub fn wrong_readers(&mut self, scratch: &Path) -> Vec<String> {
        let ends = |(run, command): (&str, &str)| {
            let here = emptied(scratch);
            self.seeds.copy(run, &here);
            let mut lal = Seeds::program(&here);
            lal.args(self.seeds.arguments(command)).stdin(typed(&here));
            watch(&mut lal, &scratch.join("said.txt"), LIMITS) == Ending::Exit(0)
        };
        let readers: BTreeSet<_> = TARGETS.iter().flat_map(|target| target.readers).collect();
        let (mut wrong, mut refused) = (Vec::new(), BTreeSet::new());
        for (runs, commands) in readers {
            let pairs = runs.iter().flat_map(|run| commands.iter().map(|command| (*run, *command)));
            let done: Vec<_> = pairs.filter(|pair| ends(*pair)).collect();
            let idle = runs.iter().filter(|run| done.iter().all(|(other, _)| other != *run));
            wrong.extend(idle.map(|run| format!("nothing reads the run {run}")));
            let idle = commands.iter().filter(|command| done.iter().all(|(_, other)| other != *command));
            wrong.extend(idle.map(|command| format!("lal {command}")));
            let pairs = runs.iter().flat_map(|run| commands.iter().map(|command| (*run, *command)));
            refused.extend(pairs.filter(|pair| !done.contains(pair)));
        }
        self.refused = refused;
        wrong
    }

    /// Keeps what a case reads in a folder of `kept`.
    pub fn keep(&self, tried: &Tried, scratch: &Path, kept: &Path) {
        let here = emptied(scratch);
        self.make(tried.number, &here);
        let to = kept.join(format!("{}-{}", self.seed, tried.number));
        fs::create_dir_all(to.join("m")).expect("LAL_FUZZ_KEEP can be written to");
        copy(&here, &to);
        if here.join("m").exists() {
            copy(&here.join("m"), &to.join("m"));
        }
        fs::write(to.join("command.txt"), &tried.command).expect("LAL_FUZZ_KEEP can be written to");
    }
}

/// The target of a case, if it is not about flags.
fn target(dice: &mut Dice) -> Option<&'static Target> {
    let all = FLAGS + TARGETS.iter().map(|target| target.share).sum::<usize>();
    let mut place = dice.below(all);
    TARGETS.iter().find(|target| {
        let here = place < target.share;
        place = place.wrapping_sub(target.share);
        here
    })
}

/// What a person would type.
fn typed(here: &Path) -> File {
    File::open(here.join("talk.txt")).expect("every case has something to say")
}

/// A new folder in `scratch`, which may lie where it is told to write to `..`.
fn emptied(scratch: &Path) -> PathBuf {
    if scratch.exists() {
        fs::remove_dir_all(scratch).expect("the scratch folder can be emptied");
    }
    let here = scratch.join("here");
    fs::create_dir_all(&here).expect("the scratch folder can be written to");
    here
}
