//! What `--help` looks like: flags in groups, the defaults of each stage of fine-tuning, lines as wide as the terminal.

use std::io::IsTerminal;

use clap::{Arg, Command};
use toml::{Table, Value};

use crate::finetune::stages::Method;
use crate::run::presets;
use crate::run::settings::Settings;

/// Columns where there is no terminal, and the most where there is one.
const COLUMNS: [usize; 2] = [80, 100];

/// Settings that a fine-tuned model has from its base: they can be given, but no others than those of the base.
const OF_BASE: [&str; 2] = ["preset", "tokenizer"];
/// How pretraining reads its texts.
const OF_TEXTS: [&str; 5] = ["val_data", "text_key", "document_separator", "skip_bad_lines", "sampling"];
/// Settings of a model that a fine-tuned one may have otherwise than its base.
const OWN: [&str; 2] = ["block_size", "dropout"];

/// The command with all that holds for every verb. Numbers below 0 are values, so that what a flag says of its range is
/// said of them as well.
pub fn prepared(command: Command) -> Command {
    let command = if std::io::stdout().is_terminal() { command } else { command.term_width(COLUMNS[0]) };
    grouped(command.max_term_width(COLUMNS[1])).mut_subcommands(|verb| match verb.get_name() {
        "finetune" => verb.mut_subcommands(of_stage),
        _ => verb,
    })
}

fn grouped(command: Command) -> Command {
    let keys = |settings: Settings| Table::try_from(settings).unwrap_or_default();
    let mini = presets::named(presets::DEFAULT).expect("the default is one of the presets");
    let (model, run) =
        (keys(Settings::of_model(&mini.model)), mini.to_toml().parse::<Table>().unwrap_or_default());
    let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    let (trains, samples) = (has("steps"), has("temperature"));
    let heading = |id: &str| match id {
        "preset" => None,
        "data" | "data_dir" | "cache_dir" | "tokenizer" => Some("Data"),
        key if OF_TEXTS.contains(&key) => Some("Data"),
        "device" | "device_limits" | "max_submit_ms" | "no_autotune" => Some("Device"),
        "json" | "quiet" | "verbose" => Some("Output"),
        key if trains && model.contains_key(key) => Some("Model"),
        key if trains && run.contains_key(key) => Some("Training"),
        "temperature" | "top_k" | "top_p" | "min_p" | "repetition_penalty" => Some("Sampling"),
        "seed" if samples => Some("Sampling"),
        _ => None,
    };
    let in_group = |arg: Arg| {
        let heading = heading(arg.get_id().as_str());
        arg.help_heading(heading)
    };
    command.allow_negative_numbers(true).mut_args(in_group).mut_subcommands(grouped)
}

/// A stage of fine-tuning: its own defaults, and no flags for what its base decides.
fn of_stage(command: Command) -> Command {
    let Some(method) = Method::all().into_iter().find(|method| method.name() == command.get_name()) else {
        return command;
    };
    let recipes: Vec<_> = method
        .recipes()
        .into_iter()
        .map(|(when, recipe)| (when, Table::try_from(recipe).unwrap_or_default()))
        .collect();
    command.mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let in_model = arg.get_help_heading() == Some("Model");
        if OF_BASE.contains(&&*id) || OF_TEXTS.contains(&&*id) || in_model && !OWN.contains(&&*id) {
            return arg.hide(true);
        }
        if id == "data" {
            return arg.help("Examples to learn from: a file, or tales for those about the built-in world");
        }
        let mut defaults: Vec<String> = Vec::new();
        let mut first = None;
        for (when, recipe) in &recipes {
            let value = recipe.get(&id);
            if when.is_empty() {
                first = value;
            }
            if let Some(value) = value.filter(|value| when.is_empty() || first != Some(value)) {
                defaults.push(format!("{}{when}", shown(value)));
            }
        }
        if in_model && defaults.is_empty() {
            defaults.push("the base's".into());
        }
        match arg.get_help().filter(|_| !defaults.is_empty()).map(ToString::to_string) {
            // A default that the setting names itself is not that of the stage.
            Some(help) => {
                let help = help.split(" [default").next().unwrap_or_default().to_owned();
                arg.help(format!("{help} [default: {}]", defaults.join("; ")))
            }
            None => arg,
        }
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}
