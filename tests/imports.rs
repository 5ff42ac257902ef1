//! Models of others: read rightly, or refused by the name of what is not understood.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use lal::engine::device::cpu::Cpu;
use lal::inspect::logits::all_logits;
use lal::run::model_file::{CONFIG, MODEL};
use lal::sample::load::{Stored, load};
use lal::text::tokenizer::Tokenizer;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use support::{file, lal};

/// The characters of the vocabulary of `golden/imports`.
const CHARACTERS: &str = "abcdefghijkl";

/// Of the weights of `golden/imports/bf16`, which are in several files.
const HASH: &str = "3c6136449073cac3117e8e76d3c7fc4f929be0c22d4d67faf41943a010987de4";

/// A folder that `golden/make_imports.py` made, with the tokenizer of those characters.
fn import(variant: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = golden().join(variant);
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    Tokenizer::from_name("char", CHARACTERS).unwrap().save(folder.path()).unwrap();
    folder
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imports")
}

/// Sets a key of a JSON file, named as in `model.dropout`.
fn set(path: &Path, key: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut place = &mut json;
    for part in key.split('.') {
        place = &mut place[part];
    }
    *place = value;
    fs::write(path, json.to_string()).unwrap();
}

fn complaint(folder: &Path) -> String {
    match Stored::open(folder) {
        Ok(_) => "none".into(),
        Err(error) => error.to_string(),
    }
}

fn model_args(mut command: Command, verb: &[&str], folder: &Path) -> Command {
    command.args(verb).args(["--device", "cpu", "--model"]).arg(folder);
    command
}

#[test]
fn logits_are_those_of_transformers() {
    let golden: Value = serde_json::from_slice(&fs::read(golden().join("logits.json")).unwrap()).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    for variant in ["untied", "trunk", "bf16", "masks"] {
        let wanted: Vec<f64> = serde_json::from_value(golden["logits"][variant].clone()).unwrap();
        let mut cpu = Cpu::<f32>::default();
        let folder = import(variant);
        let mut model = load(&mut cpu, folder.path()).unwrap();
        // A padded vocabulary has logits for all its rows, as in `transformers`; only tokens may be sampled.
        let sampled = model.generator.start(&mut cpu, &tokens).unwrap();
        assert_eq!(sampled.len(), CHARACTERS.len());
        let logits = all_logits(&mut cpu, &model.config, &tokens).unwrap();
        let logits = &logits[(tokens.len() - 1) * wanted.len()..];
        assert_eq!(logits.len(), wanted.len());
        let largest = wanted.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        for (what, found) in [("sampled", &sampled[..]), ("all", logits)] {
            for (id, (&found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let error = (f64::from(found) - wanted).abs() / largest;
                assert!(error < 1e-5, "{variant}, {what}, token {id}: {found} and not {wanted}");
            }
        }
    }
}

#[test]
fn pretraining_goes_on_from_a_model_in_several_files() {
    let folder = import("bf16");
    assert!(!folder.path().join(MODEL).exists());
    let text = file(folder.path(), "text.txt", &CHARACTERS.repeat(40));
    let out = folder.path().join("run");
    let mut train = lal();
    train.args(["train", "--device", "cpu", "--steps", "1", "--eval-iters", "1", "--sample-tokens", "0"]);
    train.arg("--data").arg(text).arg("--init").arg(folder.path()).arg("--out").arg(&out);
    train.assert().success();
    // The hash is of the files one after the other: that of `cat *.safetensors | sha256sum`.
    let origin = fs::read_to_string(out.join("origin.toml")).unwrap();
    assert!(origin.contains(HASH), "{origin}");
}

#[test]
fn what_a_config_says_otherwise_is_named() {
    for (key, value, named) in [
        ("scale_attn_weights", json!(false), "scale_attn_weights is false"),
        ("scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx is true"),
        ("add_cross_attention", json!(true), "add_cross_attention is true"),
        ("is_encoder_decoder", json!(true), "is_encoder_decoder is true"),
        ("activation_function", json!("quick_gelu"), "activation_function is \"quick_gelu\""),
        ("activation_function", json!(3), "activation_function"),
        ("attn_pdrop", json!(0.2), "attn_pdrop is 0.2 and resid_pdrop 0.1"),
        ("embd_pdrop", json!(0.0), "embd_pdrop is 0 and resid_pdrop 0.1"),
        ("layer_norm_epsilon", json!(-1e-5), "epsilon of norms is -0.00001"),
        ("layer_norm_epsilon", json!("small"), "layer_norm_epsilon is \"small\""),
        ("n_ctx", json!(5), "n_ctx is 5"),
        ("n_inner", json!(2.5), "n_inner is 2.5"),
        ("n_inner", json!(5), "c_fc.weight"),
        ("tie_word_embeddings", json!(true), "lm_head.weight is not the token embedding"),
        ("tie_word_embeddings", json!("no"), "tie_word_embeddings is \"no\""),
        ("quantization_config", json!({"bits": 4}), "quantization_config is {\"bits\":4}"),
        ("pruned_heads", json!({"0": [1]}), "pruned_heads"),
        ("rope_theta", json!(1e4), "rope_theta is 10000.0"),
        ("n_layer", json!(1), "transformer.h.1."),
        ("n_layer", json!(3), "no tensor transformer.h.2."),
        ("n_layer", json!(900), "numbers, and the model of its config.json"),
        ("n_positions", json!(9), "wpe.weight is (7, 6)"),
        ("model_type", json!("gpt_neo"), "\"gpt_neo\""),
        ("vocab_size", json!(11), "11 tokens in its vocabulary, and the tokenizer.json there 12"),
    ] {
        let folder = import("untied");
        set(&folder.path().join(CONFIG), key, value);
        let error = complaint(folder.path());
        assert!(error.contains(named), "{key}: {error}");
    }
    // What stands for nothing, and what says nothing of the model.
    for (key, value) in [
        ("quantization_config", json!(null)),
        ("pruned_heads", json!({})),
        ("use_bfloat16", json!(false)),
        ("task_specific_params", json!({"text-generation": {"max_length": 50}})),
        ("n_inner", json!(24)),
    ] {
        let folder = import("untied");
        set(&folder.path().join(CONFIG), key, value);
        assert_eq!(complaint(folder.path()), "none", "{key}");
    }
}

/// Rewrites a file of tensors without those of which `keep` says no, the others by new names and with new elements.
fn rewrite(folder: &Path, change: impl Fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>) {
    let path = folder.join(MODEL);
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<_> = tensors
        .iter()
        .filter_map(|(name, view)| {
            let (name, data) = change(name, view.data().to_vec())?;
            Some((name, view.dtype(), view.shape().to_vec(), data))
        })
        .collect();
    let views = changed.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What is said of a model after such a change.
fn changed(change: impl Fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>) -> String {
    let folder = import("untied");
    rewrite(folder.path(), change);
    let mut cpu = Cpu::<f32>::default();
    load(&mut cpu, folder.path()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn tensors_that_are_missing_unused_or_no_numbers_are_named() {
    let error = changed(|name, data| (name != "lm_head.weight").then(|| (name.into(), data)));
    assert!(error.contains("no tensor lm_head.weight"), "{error}");
    let error = changed(|name, data| Some((name.replace("h.1.ln_2.bias", "h.1.crossattention.bias"), data)));
    assert!(error.contains("no tensor transformer.h.1.ln_2.bias"), "{error}");
    for (bits, value) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let error = changed(|name, mut data| {
            if name == "transformer.h.1.mlp.c_fc.weight" {
                data[4 * 27..4 * 28].copy_from_slice(&bits.to_le_bytes());
            }
            Some((name.into(), data))
        });
        // (6, 24): 27 is row 1, column 3.
        assert!(error.contains(&format!("h.1.mlp.c_fc.weight is {value} at [1, 3]")), "{error}");
    }

    // A mask of a layer that is not there, and a vector of none.
    for name in ["transformer.h.2.attn.bias", "transformer.h.0.attn.rotary"] {
        let folder = import("masks");
        let renamed =
            |old: &str| if old == "transformer.h.1.attn.bias" { name.into() } else { old.to_owned() };
        rewrite(folder.path(), |old, data| Some((renamed(old), data)));
        assert!(complaint(folder.path()).contains(name), "{}", complaint(folder.path()));
    }
    // A head that is no longer the embedding.
    let folder = import("masks");
    rewrite(folder.path(), |name, mut data| {
        if name == "lm_head.weight" {
            data[3] ^= 0x80;
        }
        Some((name.into(), data))
    });
    assert!(
        complaint(folder.path()).contains("set tie_word_embeddings to false"),
        "{}",
        complaint(folder.path())
    );
    // Biases where Lal's own word is that there are none.
    let folder = import("masks");
    let mark = json!({"name": "char", "fingerprint": Tokenizer::from_name("char", CHARACTERS).unwrap().fingerprint()});
    set(&folder.path().join(CONFIG), "lal", json!({"version": 1, "bias": false, "tokenizer": mark}));
    assert!(complaint(folder.path()).contains("set lal.bias to true"), "{}", complaint(folder.path()));
}

#[test]
fn weights_in_other_files_are_named() {
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let folder = import("untied");
        fs::rename(folder.path().join(MODEL), folder.path().join(name)).unwrap();
        let error = complaint(folder.path());
        assert!(error.contains(name) && error.contains("save it with safetensors"), "{error}");
    }
}

#[test]
fn no_command_takes_weights_that_are_no_numbers_or_a_vocabulary_that_is_too_small() {
    let (broken, small) = (import("untied"), import("untied"));
    rewrite(broken.path(), |name, mut data| {
        if name == "transformer.wte.weight" {
            data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        Some((name.into(), data))
    });
    Tokenizer::from_name("char", "abcdefghijklmnopq").unwrap().save(small.path()).unwrap();
    let texts = tempfile::tempdir().unwrap();
    let text = file(texts.path(), "text.txt", &"abc def\n".repeat(40));
    let chats = file(texts.path(), "chats.jsonl", &"{\"prompt\": \"a\", \"response\": \"b\"}\n".repeat(40));
    let verbs: [&[&str]; 7] = [
        &["sample", "--prompt", "q"],
        &["chat"],
        &["eval", "--data", &text],
        &["inspect", "logits", "--prompt", "q"],
        &["inspect", "attention", "--prompt", "q"],
        &["finetune", "sft", "--data", &chats],
        &["profile", "--mode", "decode"],
    ];
    for verb in verbs {
        for (folder, named) in [
            (&broken, "transformer.wte.weight is NaN at [0, 0]"),
            (&small, "12 tokens in its vocabulary, and the tokenizer.json there 17"),
        ] {
            // These are found before the first step; what a stage learns by is built before its weights are read.
            if verb[0] == "finetune" && named.contains("NaN") {
                continue;
            }
            // A run folder has settings as well.
            fs::write(folder.path().join("config.toml"), "").unwrap();
            fs::write(folder.path().join("state.safetensors"), "").unwrap();
            let out = texts.path().join("run");
            let mut command = model_args(lal(), verb, folder.path());
            if verb[0] == "finetune" {
                command.arg("--out").arg(&out);
            }
            let assert = command.write_stdin("q\n").assert().failure();
            assert.stderr(contains(named).and(contains("panicked").not()));
            assert!(!out.exists(), "{verb:?} has begun a run");
        }
    }
    let mut words = lal();
    words.args(["inspect", "embeddings", "--word", "a", "--model"]).arg(broken.path());
    words.assert().failure().stderr(contains("is NaN at [0, 0]"));
}

#[test]
fn inspect_lists_what_is_in_a_file() {
    let folder = import("bf16");
    let listed = |model: &Path, more: &[&str]| {
        let assert = lal().args(["inspect", "tensors", "--model"]).arg(model).args(more).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let text = listed(folder.path(), &[]);
    assert!(
        text.lines()
            .any(|line| line.starts_with("transformer.wte.weight") && line.ends_with("BF16  (12, 6)"))
    );
    assert!(text.ends_with("safetensors: 29 tensors, 1218 elements, 2436 bytes\n"), "{text}");

    let types = golden().parent().unwrap().join("containers/types.gguf");
    let events: Vec<Value> = listed(&types, &["--json", "--stats"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |name: &str| events.iter().find(|event| event["name"] == name).unwrap();
    assert_eq!(
        events[0],
        json!({"event": "metadata", "key": "general.architecture", "type": "str", "value": "llama"})
    );
    let norm = named("norm.weight");
    assert_eq!(
        (&norm["dtype"], &norm["shape"], &norm["min"], &norm["max"]),
        (&json!("F32"), &json!([3]), &json!(-2.5), &json!(3.5))
    );
    // The root of (1.5² + 2.5² + 3.5²) / 3.
    assert!((norm["rms"].as_f64().unwrap() - 2.629_955_639_676_583).abs() < 1e-12);
    assert_eq!(named("Q6_K.weight")["shape"], json!([2, 256]));
    assert_eq!(events.last().unwrap()["format"], "gguf");

    let values = listed(&types.with_file_name("values.gguf"), &[]);
    assert!(values.contains("[[i32; 2]") || values.contains("[array; 2]"), "{values}");
    let none = folder.path().join("none.gguf");
    lal().args(["inspect", "tensors", "--model"]).arg(&none).assert().code(2).stderr(contains("none.gguf"));
}
