//! Flags and variables of every verb.

use std::collections::BTreeSet;

use crate::damage::{extreme, number};
use crate::dice::Dice;
use crate::seeds::Seeds;
use crate::targets::{NO_RUN, TARGETS};

/// Commands of the verbs that no target has.
const OTHERS: [&str; 10] = [
    "ops",
    "completions bash",
    "data list",
    "data prepare d --chars 1000 --questions 5 --held-out 2",
    "eval --model {seeds}/chat --data tales --questions 3",
    "inspect embeddings --model {seeds}/lstm --analogy fire,of,O",
    "profile --preset bigram",
    "verify --op add",
    "devices",
    "train --preset mini --data corpus.txt",
];

/// What a flag that wants a word, a path or a list may get.
const WORDS: [&str; 20] = [
    "",
    " ",
    ".",
    "..",
    "m",
    "n",
    "corpus.txt",
    "turns.jsonl",
    "own.toml",
    "pipe",
    "zeros",
    "nosuch",
    "a,b,,c",
    "fire,O,a",
    "\n",
    "\u{1b}[31m",
    "\u{202e}x",
    "bpe:257",
    "bpe:999999999999",
    "cpu",
];

/// Work that a person may ask for, however long it takes.
const WORK: [&str; 17] = [
    "steps",
    "eval_iters",
    "sample_tokens",
    "grad_accum",
    "batch_size",
    "block_size",
    "max_tokens",
    "num_samples",
    "questions",
    "samples",
    "epochs",
    "prompts",
    "chars",
    "held_out",
    "longest",
    "top",
    "warmup_steps",
];

struct Flag {
    name: String,
    has_value: bool,
    is_number: bool,
    variable: Option<String>,
    values: Vec<String>,
}

pub struct Verb {
    flags: Vec<Flag>,
    /// Commands that are right, each with its run.
    commands: Vec<(&'static str, &'static str)>,
}

/// The verbs of the program, those that have none of their own.
pub fn verbs() -> Vec<Verb> {
    let mut program = lal::cli::command();
    program.build();
    below(&program, "")
}

fn below(command: &clap::Command, path: &str) -> Vec<Verb> {
    let own: Vec<_> = command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
    if !own.is_empty() {
        let path = |verb: &clap::Command| format!("{path} {}", verb.get_name());
        return own.into_iter().flat_map(|verb| below(verb, &path(verb))).collect();
    }
    let known = TARGETS.iter().flat_map(|target| target.readers);
    let known = known.flat_map(|(runs, commands)| commands.iter().map(|command| (runs[0], *command)));
    let others = OTHERS.iter().map(|command| (NO_RUN, *command));
    let mine: BTreeSet<_> =
        known.chain(others).filter(|(_, command)| command.starts_with(path.trim_start())).collect();
    let flags = command.get_arguments().filter_map(flag).collect();
    vec![Verb { flags, commands: mine.into_iter().collect() }]
}

fn flag(arg: &clap::Arg) -> Option<Flag> {
    let name = arg.get_long().filter(|name| !["help", "version"].contains(name))?;
    let kinds = arg.get_value_names().unwrap_or_default();
    Some(Flag {
        name: format!("--{name}"),
        has_value: arg.get_action().takes_values(),
        is_number: kinds.iter().any(|kind| ["N", "X", "P", "R"].contains(&kind.as_str())),
        variable: arg.get_env().map(|variable| variable.to_string_lossy().into_owned()),
        values: arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
    })
}

/// A command of `verb` with other flags and variables, and the run that it is for.
pub fn change(
    dice: &mut Dice,
    verb: &Verb,
    seeds: &Seeds,
) -> (&'static str, Vec<String>, Vec<(String, String)>) {
    let (run, command) = match verb.commands.len() {
        0 => (NO_RUN, "devices"),
        count => verb.commands[dice.below(count)],
    };
    let (mut arguments, mut variables) = (seeds.arguments(command), Vec::new());
    let more = if dice.one_in(2) { dice.below(3) } else { 0 };
    for _ in 0..=more {
        let Some(flag) = verb.flags.get(dice.below(verb.flags.len())) else { break };
        if !flag.has_value {
            arguments.push(flag.name.clone());
            continue;
        }
        let value = match dice.below(8) {
            0..=4 if !flag.values.is_empty() => flag.values[dice.below(flag.values.len())].clone(),
            0 => dice.pick(&WORDS).to_owned(),
            1 if dice.one_in(4) => "long ".repeat(20_000),
            _ if flag.is_number && !dice.one_in(8) => number(dice).to_owned(),
            _ => extreme(dice).trim_matches('"').to_owned(),
        };
        match &flag.variable {
            Some(variable) if dice.one_in(4) => variables.push((variable.clone(), value)),
            // With a sign of equality a negative number is no flag.
            _ => arguments.push(format!("{}={value}", flag.name)),
        }
    }
    if dice.one_in(20) {
        arguments.remove(dice.below(arguments.len()));
    }
    (run, arguments, variables)
}

/// A verb, those with many flags and ways to use them more often.
pub fn pick<'a>(dice: &mut Dice, verbs: &'a [Verb]) -> &'a Verb {
    let shares =
        verbs.iter().flat_map(|verb| std::iter::repeat_n(verb, 1 + verb.flags.len() * verb.commands.len()));
    let all: Vec<&Verb> = shares.collect();
    all[dice.below(all.len())]
}

/// Whether settings or flags ask for more work than a case has time for: no end of it is then no finding.
pub fn asks_for_work(text: &str) -> bool {
    let mut words =
        text.split(|c: char| !(c.is_alphanumeric() || "._-+".contains(c))).filter(|word| !word.is_empty());
    let mut last = String::new();
    words.any(|word| {
        let many = word.parse::<f64>().is_ok_and(|number| number > 100.0);
        let asks = many && WORK.contains(&last.as_str());
        last = word.trim_start_matches("--").replace('-', "_").trim_start_matches("LAL_").to_lowercase();
        asks
    })
}
