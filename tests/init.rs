//! `train --init`: a run that begins with the weights of another, or of a published model.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use lal::text::tokenizer::Tokenizer;

/// Presets of all architectures, with sizes that are quick.
const PRESETS: [(&str, &[&str]); 7] = [
    ("mini", &["--n-layer", "2", "--n-head", "2"]),
    ("llama-mini", &["--n-layer", "1", "--n-head", "2", "--n-kv-head", "1"]),
    ("bert-mini", &["--n-layer", "1", "--n-head", "2"]),
    ("lstm-mini", &["--n-layer", "2"]),
    ("mlp-mini", &["--n-inner", "12"]),
    ("bigram", &[]),
    ("skipgram", &[]),
];
const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDE";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let text: String = (0..600).map(|i| format!("the{}cat{}sat", i % 7, i % 5)).collect();
        let letters =
            text.chars().map(|c| if c.is_ascii_digit() { (c as u8 - b'0' + b'A') as char } else { c });
        fs::write(
            place.path("text.txt"),
            letters.map(|c| if c > 'E' && c < 'a' { 'z' } else { c }).collect::<String>(),
        )
        .unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn train(&self, out: &str, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("lal").unwrap();
        command.args(["train", "--device", "cpu", "--json", "--eval-iters", "1", "--sample-tokens", "0"]);
        command.args(["--batch-size", "3", "--warmup-steps", "0", "--data", &self.path("text.txt")]);
        command.args(["--out", &self.path(out)]).args(args);
        command
    }
}

/// The last event of a run, or of another command.
fn done(mut command: Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    let last = String::from_utf8(output).unwrap().lines().last().unwrap().to_owned();
    serde_json::from_str(&last).unwrap()
}

/// With a rate that moves nothing, the loss of the same windows is the one that the first run ended with.
#[test]
fn a_run_begins_where_another_ended() {
    for (preset, sizes) in PRESETS {
        let place = Place::new();
        if preset == "skipgram" {
            // It reads words.
            let text = fs::read_to_string(place.path("text.txt")).unwrap();
            fs::write(place.path("text.txt"), text.replace("the", " the ").replace("cat", " cat ")).unwrap();
        }
        let own = ["--preset", preset, "--n-embd", "8", "--block-size", "6", "--steps", "3", "--lr", "3e-2"];
        let first = done(place.train("first", &[&own[..], sizes].concat()));
        let from = place.path("first");
        let second = done(place.train("second", &["--init", &from, "--steps", "1", "--lr", "1e-20"]));
        assert_eq!(first["val_loss"], second["val_loss"], "{preset}");
        let fresh =
            done(place.train("fresh", &[&own[..], sizes, &["--steps", "1", "--lr", "1e-20"]].concat()));
        assert_ne!(first["val_loss"], fresh["val_loss"], "{preset}");
        let origin: toml::Table =
            fs::read_to_string(place.path("second/origin.toml")).unwrap().parse().unwrap();
        assert_eq!(origin["init"]["path"].as_str(), Some(from.as_str()), "{preset}");
        assert_eq!(origin["init"]["sha256"].as_str().unwrap().len(), 64);
        // It goes on, without what it began with.
        fs::rename(&from, place.path("moved")).unwrap();
        let mut again = Command::cargo_bin("lal").unwrap();
        let resumed = place.path("second");
        again.args([
            "train", "--device", "cpu", "--json", "--resume", &resumed, "--steps", "3", "--lr", "1e-2",
        ]);
        let again = done(again);
        assert_eq!(again["step"], 3, "{preset}");
        assert_ne!(again["val_loss"], second["val_loss"], "{preset}");
    }
}

/// Qwen 2 has biases of queries, keys and values alone, and a base of its angles, for which there are no settings.
#[test]
fn a_published_model_is_trained_further() {
    let (place, golden) =
        (Place::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/qwen2"));
    let model = place.path("qwen2");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden.join(file), Path::new(&model).join(file)).unwrap();
    }
    Tokenizer::from_name("char", CHARACTERS).unwrap().save(Path::new(&model)).unwrap();
    let loss = |model: &str| {
        let mut eval = Command::cargo_bin("lal").unwrap();
        eval.args(["eval", "--device", "cpu", "--json", "--model", model, "--data", &place.path("text.txt")]);
        eval.args(["--stride", "16"]);
        done(eval)["val_loss"].as_f64().unwrap()
    };
    let few = ["--init", &model, "--steps", "1", "--block-size", "24"];
    done(place.train("run", &[&few[..], &["--lr", "1e-20"]].concat()));
    let run = place.path("run");
    // Of other windows, as the block is shorter.
    let mut eval = fs::read_to_string(format!("{model}/config.json")).unwrap();
    assert!(eval.contains("\"max_position_embeddings\": 96"));
    eval = eval.replace("\"max_position_embeddings\": 96", "\"max_position_embeddings\": 24");
    fs::write(format!("{model}/config.json"), eval).unwrap();
    assert_eq!(loss(&model), loss(&run));
    let mut again = Command::cargo_bin("lal").unwrap();
    again.args(["train", "--device", "cpu", "--json", "--resume", &run, "--steps", "30", "--lr", "1e-2"]);
    assert!(done(again)["val_loss"].as_f64().unwrap() < loss(&model) - 1.0);
    assert!(loss(&run) < loss(&model) - 1.0);

    for (args, named) in [
        (&["--n-layer", "3"][..], "n_layer is 3, and 2 in"),
        (&["--tokenizer", "byte"], "tokenizer is \"byte\", and \"char\" in"),
        (&["--block-size", "25"], "for texts of 24 tokens: choose --block-size 24"),
    ] {
        let mut refused = place.train("none", &[&["--init", &model, "--steps", "1"], args].concat());
        refused.assert().code(2).stderr(contains(named));
    }
}
