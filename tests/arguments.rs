//! Arguments: help in groups and within 80 columns, familiar names, prompts from files, completions.

mod support;

use std::fs;

use assert_cmd::Command;
use predicates::str::contains;
use support::{base, events, file, lal, tiny};

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn help_is_in_groups_and_fits_80_columns() {
    for (verb, groups) in [
        (&["train"][..], &["Data:", "Model:", "Training:", "Device:", "Output:"][..]),
        (&["profile"], &["Data:", "Model:", "Training:", "Device:", "Output:"]),
        (&["finetune", "dpo"], &["Data:", "Model:", "Training:", "Device:", "Output:"]),
        (&["sample"], &["Sampling:", "Device:", "Output:"]),
    ] {
        let help = stdout(lal().args(verb).arg("--help"));
        for group in groups {
            assert!(help.lines().any(|line| line == *group), "{verb:?} has no {group}");
        }
        let longest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 80, "{verb:?}: {longest}");
    }
    let help = stdout(lal().args(["train", "--help"]));
    // What belongs to no group is not in the last one.
    assert!(help.find("--out <DIR>") < help.find("Data:"), "{help}");
    for name in lal::run::presets::NAMES {
        assert!(help.lines().any(|line| line.trim_start().starts_with(name)), "{name}");
    }
}

/// What a flag's help says, in one line.
fn about(help: &str, flag: &str) -> Option<String> {
    let rest = help.split(&format!("      --{flag} <")).nth(1)?;
    Some(rest.split("\n\n").next()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn help_of_a_stage_has_its_own_defaults() {
    let help = stdout(lal().args(["finetune", "sft", "--help"]));
    let steps = about(&help, "steps").unwrap();
    let own = "[default: 1000; 2000 with --data tales; 4000 with --data tales-flawed]";
    assert!(steps.contains(own), "{steps}");
    assert!(about(&help, "dropout").unwrap().contains("[default: the base's]"));
    let help = stdout(lal().args(["finetune", "dpo", "--help"]));
    assert!(about(&help, "dropout").unwrap().contains("[default: 0]"));
    // Only the base's own are allowed.
    assert_eq!((about(&help, "n-layer"), about(&help, "preset")), (None, None));
    let chat = stdout(lal().args(["chat", "--help"]));
    assert!(about(&chat, "temperature").unwrap().contains("[default: 0.5]"), "{chat}");
}

#[test]
fn familiar_names_and_bare_flags_are_settings() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut train = tiny(&["train"], "tales", &out);
    train.args(["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--block-size", "8"]);
    train.args(["--max-iters", "3", "--lr", "0.002", "--bias", "--tied=false"]).assert().success();
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    for line in ["steps = 3", "learning_rate = 0.002", "bias = true", "tied = false"] {
        assert!(config.lines().any(|other| other == line), "{line}: {config}");
    }
    // The order of files that earlier versions wrote.
    let keys: Vec<_> = config.lines().filter_map(|line| line.split(" = ").next()).collect();
    assert_eq!(keys[..6], ["preset", "data", "tokenizer", "architecture", "n_layer", "n_head"]);
    assert_eq!(keys[18..21], ["tied", "causal", "steps"]);
}

#[test]
fn prompts_come_from_flags_files_and_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let prompt = file(folder.path(), "prompt.txt", "The \n");
    let sample = |arguments: &[&str], typed: &str| {
        let mut command = lal();
        command.args(["sample", "--device", "cpu", "--max-new-tokens", "2", "--model"]).arg(&model);
        command.args(arguments).write_stdin(typed.to_owned());
        command
    };
    for (arguments, typed) in [(&["--prompt", "-"][..], "The \n"), (&["--prompt-file", &prompt], "")] {
        let said = events(&mut sample(arguments, typed));
        let text = said[0]["text"].as_str().unwrap();
        assert!(text.starts_with("The ") && !text.starts_with("The \n"), "{text:?}");
    }
    sample(&["--prompt", "-"], "\n").assert().code(2).stderr(contains("the prompt is empty"));
    sample(&["--prompt-file", "/no/such/prompt"], "").assert().code(2).stderr(contains("/no/such/prompt"));
    sample(&["--prompt", "a", "--prompt-file", &prompt], "")
        .assert()
        .code(2)
        .stderr(contains("--prompt-file"));
}

#[test]
fn every_program_has_completions() {
    for name in ["lal", "train", "sample"] {
        let script = stdout(lal().args(["completions", "bash", name]));
        assert!(script.contains(&format!("complete -F _{name} ")), "{name}");
    }
    lal().args(["completions", "bash", "other"]).assert().code(2).stderr(contains("train, sample"));
}
