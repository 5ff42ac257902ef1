//! Tokenizer files of Lal and of GPT-2 that say something else: another tokenizer, or an error that names it.

use std::fs;
use std::path::Path;

use lal::run::model_file::TokenizerMark;
use lal::text::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// The folder's tokenizer is not `own`: it cannot be read, or is one that a model of `own` does not take.
#[track_caller]
fn is_another(folder: &Path, own: &Tokenizer) {
    match Tokenizer::load(folder) {
        Err(error) => assert!(error.to_string().contains("tokenizer.json"), "{error}"),
        Ok(other) => {
            assert!(other.published().is_some());
            let marks = (TokenizerMark::of(own), TokenizerMark::of(&other));
            assert!(marks.0.check(&marks.1, folder).is_err());
        }
    }
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

#[test]
fn what_a_tokenizer_says_otherwise_makes_it_another_or_is_named() {
    let text = "some text, some words, some text";
    for (name, key, value) in [
        ("byte", "normalizer", json!({"type": "Lowercase"})),
        ("byte", "pre_tokenizer.add_prefix_space", json!(true)),
        ("byte", "pre_tokenizer", json!({"type": "Whitespace"})),
        ("byte", "pre_tokenizer", json!(null)),
        (
            "byte",
            "post_processor",
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}]}),
        ),
        ("byte", "truncation", json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0})),
        ("byte", "padding", json!({"pad_id": 0})),
        ("byte", "padding", json!({"strategy": "BatchLongest", "pad_id": 0, "pad_token": "a"})),
        ("byte", "decoder", json!(null)),
        ("byte", "decoder", json!({"type": "WordPiece", "cleanup": true})),
        ("byte", "model.dropout", json!(0.1)),
        ("byte", "model.byte_fallback", json!(true)),
        ("byte", "model.unk_token", json!("a")),
        ("byte", "model.merges", json!(["a b"])),
        ("byte", "model.end_of_word_suffix", json!("</w>")),
        ("byte", "unheard_of", json!("x")),
        ("bpe:260", "model.ignore_merges", json!(true)),
        ("bpe:260", "model.continuing_subword_prefix", json!("##")),
        ("bpe:260", "pre_tokenizer.use_regex", json!(false)),
        ("bpe:260", "pre_tokenizer.add_prefix_space", json!(true)),
        ("char", "pre_tokenizer.pattern.Regex", json!("\\w")),
        ("char", "pre_tokenizer.behavior", json!("Removed")),
        ("char", "model.unk_token", json!("e")),
        ("char", "normalizer", json!({"type": "NFC"})),
        ("word", "pre_tokenizer.invert", json!(true)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::from_name(name, text).unwrap().save(folder.path()).unwrap();
        set(&folder.path().join("tokenizer.json"), key, value);
        is_another(folder.path(), &Tokenizer::from_name(name, text).unwrap());
    }
    for (key, value) in [
        ("add_prefix_space", json!(true)),
        ("add_bos_token", json!(true)),
        ("do_lower_case", json!(true)),
        ("tokenizer_class", json!("LlamaTokenizer")),
        ("added_tokens_decoder", json!({"7": {"content": "<pad>"}})),
    ] {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::from_name("byte", "").unwrap().save(folder.path()).unwrap();
        set(&folder.path().join("tokenizer_config.json"), key, value);
        let error = Tokenizer::load(folder.path()).expect_err(key).to_string();
        assert!(error.contains(key) && error.contains("tokenizer_config.json"), "{key}: {error}");
    }
}

/// Forms of one file that the `tokenizers` library reads alike.
#[test]
fn other_spellings_of_a_tokenizer_are_read() {
    let text = "some text, some words, some text";
    for name in ["byte", "bpe:264", "gpt2"] {
        let tokenizer = Tokenizer::from_name(name, &text.repeat(3)).unwrap().with_chat();
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let path = folder.path().join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        // As older versions of it wrote GPT-2's, and as newer ones write merges.
        json["model"].as_object_mut().unwrap().remove("type");
        json["model"].as_object_mut().unwrap().remove("byte_fallback");
        json["pre_tokenizer"].as_object_mut().unwrap().remove("use_regex");
        json["decoder"]["add_prefix_space"] = json!(true);
        json["post_processor"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false});
        for merge in json["model"]["merges"].as_array_mut().unwrap() {
            let pair: Vec<_> = merge.as_str().unwrap().split(' ').map(str::to_owned).collect();
            *merge = json!(pair);
        }
        fs::write(&path, json.to_string()).unwrap();
        assert_eq!(Tokenizer::load(folder.path()).unwrap(), tokenizer);
        // As `transformers` writes one that adds nothing.
        let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
        let single = [sequence("A", 0)];
        let pair = [sequence("A", 0), sequence("B", 1)];
        let template =
            json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {}});
        set(&path, "post_processor", template);
        assert_eq!(Tokenizer::load(folder.path()).unwrap(), tokenizer);
    }
}

#[test]
fn merges_decide_ids_and_are_checked() {
    let corpus = "low lower lowest newer newest wider widest ".repeat(8);
    let tokenizer = Tokenizer::from_name("bpe:270", &corpus).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    let saved: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut json = saved.clone();
        change(json["model"]["merges"].as_array_mut().unwrap());
        fs::write(&path, json.to_string()).unwrap();
        Tokenizer::load(folder.path()).map_err(|error| error.to_string())
    };
    assert_eq!(with(&|_| {}).unwrap(), tokenizer);
    for change in [
        (&|merges: &mut Vec<Value>| merges.clear()) as &dyn Fn(&mut Vec<Value>),
        &|merges| drop(merges.pop()),
        &|merges| drop(merges.remove(0)),
        &|merges| merges.swap(0, 1),
    ] {
        // Whatever the library makes of it.
        let _ = with(change);
        is_another(folder.path(), &tokenizer);
    }
    // A pair more that makes a token which is there already can give other ids to the same tokens.
    let mark = |merges: Value| {
        Tokenizer::from_name("bpe:257", "abab").unwrap().save(folder.path()).unwrap();
        set(&path, "model.vocab.bc", json!(257));
        set(&path, "model.vocab.abc", json!(258));
        set(&path, "model.merges", merges);
        TokenizerMark::of(&Tokenizer::load(folder.path()).unwrap())
    };
    let (three, four) = (mark(json!(["a b", "b c", "ab c"])), mark(json!(["a b", "b c", "ab c", "a bc"])));
    assert_eq!(three.fingerprint, four.fingerprint);
    assert!(three.check(&four, &path).is_err() && three.check(&three, &path).is_ok());
    let mut gpt2 = Tokenizer::from_name("gpt2", "").unwrap();
    gpt2.save(folder.path()).unwrap();
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["model"]["merges"].as_array_mut().unwrap().truncate(40_000);
    fs::write(&path, json.to_string()).unwrap();
    is_another(folder.path(), &gpt2);
    gpt2 = gpt2.with_chat();
    assert_eq!((gpt2.begin(), gpt2.end()), (Some(50_256), Some(50_259)));
}
