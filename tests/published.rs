//! Published models from the command line: logits, ids, perplexities and contexts, against `transformers`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use lal::interop::container::Container;
use lal::text::tokenizer::Tokenizer;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::{base, events, file, lal, tiny};

const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDE";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The folder of a tiny model with a tokenizer of as many characters.
fn model(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("families").join(name).join(file), folder.path().join(file)).unwrap();
    }
    Tokenizer::from_name("char", CHARACTERS).unwrap().save(folder.path()).unwrap();
    folder
}

fn on(verb: &[&str], model: &Path) -> Command {
    let mut command = lal();
    command.args(verb).args(["--device", "cpu", "--model"]).arg(model);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The logits after every token, as a file; and the most likely token after them, as `sample` writes it.
#[test]
fn logits_and_ids_are_those_of_transformers() {
    for name in ["llama", "mistral", "gemma3", "gpt_neox"] {
        let folder = model(name);
        let expected = json(&golden("families").join(name).join("expected.json"));
        let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
        let logits: Vec<Vec<f64>> = serde_json::from_value(expected["logits"].clone()).unwrap();
        let ids: Vec<_> = tokens.iter().map(u32::to_string).collect();
        let out = folder.path().join("logits.safetensors");
        let told = events(
            on(&["inspect", "logits", "--tokens", &ids.join(",")], folder.path()).arg("--out").arg(&out),
        );
        let container = Container::open(&out).unwrap();
        let tensor = container.tensor("logits").unwrap();
        assert_eq!(tensor.shape, [tokens.len(), CHARACTERS.len()]);
        let wanted = logits.concat();
        let scale = wanted.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        for (got, want) in container.elements(tensor).unwrap().iter().zip(&wanted) {
            assert!((f64::from(*got) - want).abs() <= 1e-5 * scale, "{name}: {got} and not {want}");
        }
        let last = &logits[tokens.len() - 1];
        let likeliest = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
        assert_eq!(told[0]["id"], likeliest, "{name}");
        let text = Tokenizer::from_name("char", CHARACTERS).unwrap().decode(&tokens);
        let flags = ["sample", "--temperature", "0", "--max-tokens", "2", "--prompt", &text];
        let told = events(&mut on(&flags, folder.path()));
        let written: Vec<usize> = serde_json::from_value(told[0]["ids"].clone()).unwrap();
        assert_eq!((written.len(), written[0]), (2, likeliest), "{name}");
    }
}

/// Without a file it is the same distribution.
#[test]
fn tokens_and_their_text_are_the_same_prompt() {
    let folder = model("qwen3");
    let by = |flag: &str, value: &str| events(&mut on(&["inspect", "logits", flag, value], folder.path()));
    let wanted = by("--prompt", "ABC");
    assert_eq!(by("--tokens", "0,1,2"), wanted);
    let refused =
        |tokens: &str| on(&["inspect", "logits", "--tokens", tokens], folder.path()).assert().code(2);
    refused("0,31").stderr(contains("there is no token 31"));
    let all =
        on(&["inspect", "logits", "--tokens", "0,31", "--out", "no.safetensors"], folder.path()).assert();
    all.code(2).stderr(contains("there is no token 31"));
    refused("0,x").stderr(contains("invalid value"));
}

/// By the loops of the guide of `transformers` and of llama.cpp's program.
#[test]
fn perplexities_are_those_that_others_define() {
    let (folder, golden) = (model("llama"), json(&golden("perplexity.json")));
    let data = file(folder.path(), "text.txt", golden["text"].as_str().unwrap());
    let of = |windows: &[&str]| {
        let flags = ["eval", "--split", "all", "--context", "48", "--data", &data];
        events(on(&flags, folder.path()).args(windows)).remove(0)
    };
    for (kind, told) in [
        ("sliding", of(&["--windows", "sliding", "--stride", "20"])),
        ("halves", of(&["--windows", "halves"])),
    ] {
        let (nats, tokens) = (golden[kind][0].as_f64().unwrap(), golden[kind][1].as_f64().unwrap());
        assert_eq!(told["tokens"], golden[kind][1], "{kind}");
        let loss = told["val_loss"].as_f64().unwrap();
        assert!((loss - nats / tokens).abs() < 1e-5, "{kind}: {loss} and not {}", nats / tokens);
    }
    let wrong = |flags: &[&str], said: &str| {
        on(&["eval", "--data", &data], folder.path())
            .args(flags)
            .assert()
            .code(2)
            .stderr(contains(said.to_owned()));
    };
    wrong(&["--windows", "halves", "--stride", "3"], "has no stride");
    wrong(&["--split", "all", "--context", "501"], "a smaller --context");
}

#[test]
fn a_context_is_as_long_as_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    // Rotary embeddings, trained with blocks of 32 tokens.
    let (run, _) = base(folder.path());
    let after = |context: &[&str], prompt: &str| {
        let told = events(on(&["inspect", "logits", "--top", "1", "--prompt", prompt], &run).args(context));
        (told[0]["id"].clone(), told[0]["logit"].clone())
    };
    let (old, new) = ("B".repeat(40), "A".repeat(32));
    let both = format!("{old}{new}");
    // 32 tokens of context see nothing of the others, 72 do.
    assert_eq!(after(&[], &both), after(&[], &new));
    assert_ne!(after(&["--context", "72"], &both), after(&[], &new));
    assert_eq!(after(&["--context", "72"], &new), after(&[], &new));
    // More than any memory has.
    let refused =
        on(&["sample", "--context", "1048576"], &model_of_many_heads(folder.path())).assert().code(1);
    refused.stderr(contains("a context of 1048576 tokens needs").and(contains("a smaller --context")));
    let learned = folder.path().join("learned");
    let shape = ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "16"];
    tiny(&["train"], "tales", &learned).args(shape).args(["--steps", "1"]).assert().success();
    on(&["sample", "--context", "17"], &learned).assert().code(2).stderr(contains("at most 16"));
    on(&["sample", "--context", "8", "--max-tokens", "30"], &learned).assert().success();
}

/// A run whose keys and values are wide: of 1,048,576 tokens they take terabytes.
fn model_of_many_heads(folder: &Path) -> PathBuf {
    let out = folder.join("wide");
    let shape =
        ["--n-layer", "8", "--n-head", "64", "--n-embd", "8", "--head-size", "1024", "--block-size", "8"];
    tiny(&["train"], "tales", &out)
        .args(shape)
        .args(["--position", "rope", "--steps", "1", "--eval-iters", "1", "--sample-tokens", "0"])
        .assert()
        .success();
    out
}

/// A run of a model that sees both sides is no dead end.
#[test]
fn hidden_tokens_are_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("bert");
    let shape = ["--preset", "bert-mini", "--n-layer", "1", "--n-embd", "16", "--block-size", "32"];
    tiny(&["train"], "tales", &run).args(shape).assert().success();
    let told =
        events(&mut on(&["inspect", "masked", "--prompt", "The [MASK]at s[MASK]t", "--top", "9"], &run));
    let [first, second, done] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&first["place"], &second["place"]), (&4.into(), &9.into()));
    let of = |masked: &Value| -> Vec<f64> {
        let candidates = masked["candidates"].as_array().unwrap().iter();
        candidates.map(|candidate| candidate["probability"].as_f64().unwrap()).collect()
    };
    for masked in [first, second] {
        let probabilities = of(masked);
        assert_eq!(probabilities.len(), 9);
        assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities.iter().sum::<f64>() <= 1.0 + 1e-6);
    }
    let token = |masked: &Value| masked["candidates"][0]["token"].as_str().unwrap().to_owned();
    assert_eq!(done["text"], format!("The {}at s{}t", token(first), token(second)));
    let said = |model: &Path, prompt: &str, text: &str| {
        on(&["inspect", "masked", "--prompt", prompt], model)
            .assert()
            .code(2)
            .stderr(contains(text.to_owned()));
    };
    said(&run, "The cat", "write [MASK]");
    let (causal, _) = base(folder.path());
    said(&causal, "The [MASK]", "no token that hides others");
    on(&["sample"], &run).assert().code(2).stderr(contains("lal inspect masked"));
}

/// As `transformers` computes them: of a folder that asks for means of length 1, and of one with a head of its own.
#[test]
fn texts_become_the_vectors_that_their_folder_asks_for() {
    let expected = json(&golden("bert/expected.json"));
    let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = file(folder.path(), "texts.txt", &texts[1..].join("\n"));
    for name in ["encoder", "masked"] {
        let flags = ["embed", "--text", &texts[0], "--file", &data];
        let told = events(&mut on(&flags, &golden("bert").join(name)));
        assert_eq!(told.len(), texts.len());
        for (line, wanted) in told.iter().zip(expected[name].as_array().unwrap()) {
            let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
            let (got, wanted) = (numbers(&line["embedding"]), numbers(wanted));
            assert_eq!(got.len(), wanted.len());
            for (got, want) in got.iter().zip(&wanted) {
                assert!((got - want).abs() < 1e-5, "{name}: {got} and not {want}");
            }
        }
    }
    let said = |verb: &[&str]| {
        let error = on(verb, &golden("bert/masked")).assert().code(2).get_output().stderr.clone();
        String::from_utf8(error).unwrap()
    };
    // Its embeddings are no head, and what it would write without one is refused.
    assert!(said(&["inspect", "logits", "--tokens", "1,2", "--out", "no.safetensors"]).contains("lal embed"));
    assert!(said(&["sample"]).contains("lal embed"));
    let out = folder.path().join("run").display().to_string();
    let init = golden("bert/masked").display().to_string();
    let mut train = tiny(&["train"], "tales", Path::new(&out));
    train.args(["--init", &init]).assert().code(2).stderr(contains("lal embed"));
}
