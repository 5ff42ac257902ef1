//! Damaged files: the error names the file and the key, and nothing panics.

use std::fs;

use lal::text::chat;
use lal::text::chat::Role;
use lal::text::tokenizer::{Tokenizer, catches_panics};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::{KINDS, folder, message};

/// Damaged folders: a few seconds' worth.
const DAMAGED: usize = 2000;

/// A file of the folder, a key of it and what is put there; the error names the file and says something of this.
#[test]
fn what_is_damaged_is_named() {
    let deep = format!("{}1{}", "{{ ".to_owned() + &"(".repeat(50_000), ")".repeat(50_000));
    for (file, key, value, told) in [
        ("tokenizer.json", "version", json!("2.0"), "version"),
        ("tokenizer.json", "model.type", json!("Neural"), "model"),
        ("tokenizer.json", "model.vocab.a", json!(4_000_000_000_u32), "4000000000"),
        ("tokenizer.json", "model.vocab.a", json!(-1), "model"),
        ("tokenizer.json", "model.merges", json!(["a zzzz"]), "zzzz"),
        ("tokenizer.json", "model.merges", json!([["a"]]), "model"),
        ("tokenizer.json", "model.merges", json!(7), "model"),
        ("tokenizer.json", "model.dropout", json!(0.1), "dropout"),
        ("tokenizer.json", "model.continuing_subword_prefix", json!("a long prefix"), "model"),
        ("tokenizer.json", "normalizer", json!({"type": "Unheard"}), "normalizer"),
        (
            "tokenizer.json",
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "normalizer",
        ),
        (
            "tokenizer.json",
            "pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
            "pre_tokenizer",
        ),
        (
            "tokenizer.json",
            "decoder",
            json!({"type": "CTC", "pad_token": "x", "word_delimiter_token": "|", "cleanup": true}),
            "CTC",
        ),
        (
            "tokenizer.json",
            "post_processor",
            json!({"type": "BertProcessing", "sep": ["x", 99_999], "cls": ["y", 2]}),
            "99999",
        ),
        ("tokenizer.json", "added_tokens", json!([{"id": 5, "content": ""}]), "empty"),
        ("tokenizer.json", "added_tokens", json!([{"id": 5, "content": "<x>"}]), "<x>"),
        ("tokenizer.json", "added_tokens", json!([{"id": 1e12, "content": "<x>"}]), "added_tokens"),
        ("tokenizer.json", "unheard", json!(1), "unheard"),
        ("tokenizer_config.json", "eos_token", json!("<|nothing|>"), "<|nothing|>"),
        ("tokenizer_config.json", "bos_token", json!(7), "bos_token"),
        ("tokenizer_config.json", "add_bos_token", json!("yes"), "add_bos_token"),
        ("tokenizer_config.json", "added_tokens_decoder", json!({"1": {"content": "<x>"}}), "<x>"),
        ("tokenizer_config.json", "added_tokens_decoder", json!({"one": {"content": "<x>"}}), "one"),
        ("tokenizer_config.json", "chat_template", json!(7), "chat_template"),
        ("tokenizer_config.json", "chat_template", json!("{% if %}"), "line 1"),
        ("tokenizer_config.json", "chat_template", json!(deep), "chat template"),
        ("generation_config.json", "eos_token_id", json!("7"), "eos_token_id"),
        ("generation_config.json", "eos_token_id", json!([7, -1]), "eos_token_id"),
        ("special_tokens_map.json", "pad_token", json!([]), "pad_token"),
    ] {
        let to = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(folder("llama3").join(name), to.path().join(name)).unwrap();
        }
        let path = to.path().join(file);
        let mut json: Value =
            fs::read(&path).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
        let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
        let parent =
            parents.split('.').filter(|part| !part.is_empty()).fold(&mut json, |at, part| &mut at[part]);
        parent[last] = value;
        fs::write(&path, json.to_string()).unwrap();
        let error = Tokenizer::load(to.path()).map(|_| ()).expect_err(key).to_string();
        let error = error.chars().take(2000).collect::<String>();
        assert!(error.contains(file) && error.contains(told), "{file}, {key}: {error}");
    }
    let to = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder("llama3").join("tokenizer.json")).unwrap();
    for length in [0, 1, text.len() / 2, text.len() - 1] {
        let length = (0..=length).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        fs::write(to.path().join("tokenizer.json"), &text[..length]).unwrap();
        let error = Tokenizer::load(to.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}

/// Bytes changed, cut out or written twice, anywhere in any of the files: an error, or a tokenizer that works.
#[test]
fn damage_ends_in_errors() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !catches_panics() {
            usual(panic);
        }
    }));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut below = |most: usize| (rng.next_u64() % most as u64) as usize;
    let to = tempfile::tempdir().unwrap();
    let mut read = 0;
    for case in 0..DAMAGED {
        let kind = KINDS[case % KINDS.len()];
        let names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
        let files: Vec<_> = names.iter().filter(|name| folder(kind).join(name).exists()).collect();
        for name in names {
            let _ = fs::remove_file(to.path().join(name));
        }
        for name in &files {
            fs::copy(folder(kind).join(name), to.path().join(name)).unwrap();
        }
        let name = files[below(files.len())];
        let mut bytes = fs::read(to.path().join(name)).unwrap();
        for _ in 0..=below(2) {
            if bytes.is_empty() {
                break;
            }
            let (at, other, byte) = (below(bytes.len()), below(bytes.len()), below(256) as u8);
            match below(4) {
                0 => bytes[at] = byte,
                1 => drop(bytes.drain(at.min(other)..at.max(other).min(at.min(other) + 40))),
                2 => bytes[at] = bytes[other],
                _ => {
                    let part = bytes[other..bytes.len().min(other + 30)].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        fs::write(to.path().join(name), &bytes).unwrap();
        match Tokenizer::load(to.path()) {
            Err(error) => assert!(error.to_string().contains(name), "{kind}, {name}: {error}"),
            Ok(tokenizer) => {
                read += 1;
                if let Ok(ids) = tokenizer.encode("It's 2024: Zoë </s><|end|> \u{1F642}") {
                    tokenizer.decode(&ids);
                }
                let _ = chat::encode_prompt(&[message(Role::User, "Hi <|end|>")], &tokenizer);
            }
        }
    }
    assert!((DAMAGED / 20..DAMAGED).contains(&read), "{read}");
}
