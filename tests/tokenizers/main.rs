//! Published tokenizers and chat templates: ids and texts are those of `tokenizers` and `transformers`, a user cannot
//! type a special token, and what is damaged is named.
//!
//! `tests/golden/make_tokenizers.py` makes the tokenizers, and says what they give.

mod changed;
mod damage;

use std::fs;
use std::path::{Path, PathBuf};

use lal::text::chat::published::{Ending, Form};
use lal::text::chat::{self, Chat, Message, Role};
use lal::text::tokenizer::Tokenizer;
use lal::text::tokenizer::gguf::GgufTokenizer;
use lal::text::tokenizer::published::Published;
use serde_json::{Value, json};

const KINDS: [&str; 5] = ["llama3", "qwen2", "sentencepiece", "metaspace", "bert"];

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(kind)
}

fn golden(kind: &str) -> Value {
    serde_json::from_slice(&fs::read(folder(kind).join("golden.json")).unwrap()).unwrap()
}

fn published(kind: &str) -> Published {
    Tokenizer::load(&folder(kind)).unwrap().published().unwrap().clone()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn messages(value: &Value) -> Vec<Message> {
    let role = |role: &str| match role {
        "system" => Role::System,
        "user" => Role::User,
        _ => Role::Assistant,
    };
    let one = |m: &Value| message(role(m["role"].as_str().unwrap()), m["content"].as_str().unwrap());
    value.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn ids_are_those_of_the_library_and_read_as_it_reads_them() {
    for kind in KINDS {
        let (tokenizer, golden) = (Tokenizer::load(&folder(kind)).unwrap(), golden(kind));
        for row in golden["texts"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let found = tokenizer.encode(text).unwrap();
            if kind == "metaspace" && text.contains("</s>") {
                // The library's own model takes these letters for the token.
                assert!(ids(&row["ids"]).contains(&tokenizer.end().unwrap()));
                continue;
            }
            assert_eq!(found, ids(&row["ids"]), "{kind}: {text:?}");
            let decoded = row["decoded"].as_str().unwrap();
            assert_eq!(tokenizer.decode(&found), decoded, "{kind}: {text:?}");
            let mut stream = tokenizer.stream();
            let pieces: String = found.iter().map(|&id| stream.push(id)).collect();
            assert_eq!(pieces + &stream.finish(), decoded, "{kind}: {text:?}");
        }
        let [before, after] = tokenizer.published().unwrap().around();
        let whole = [before.as_slice(), &tokenizer.encode("The dog").unwrap(), after].concat();
        assert_eq!(whole, ids(&golden["around"]), "{kind}");
    }
}

#[test]
fn conversations_are_written_as_transformers_writes_them() {
    for kind in ["llama3", "qwen2", "sentencepiece"] {
        let (tokenizer, golden) = (published(kind), golden(kind));
        let form = Form::of(&tokenizer).unwrap();
        let rows = golden["chats"].as_array().unwrap();
        assert!(rows.len() >= 12, "{kind}");
        for row in rows {
            let ending = match (&row["add_generation_prompt"], &row["continue_final_message"]) {
                (Value::Bool(true), _) => Ending::Prompt,
                (_, Value::Bool(true)) => Ending::Open,
                _ => Ending::Whole,
            };
            let rendered = form.render(&messages(&row["messages"]), ending);
            if let Some(error) = row["error"].as_str() {
                let told = rendered.unwrap_err();
                assert!(ending == Ending::Open || told.contains(error), "{kind}: {told}");
                continue;
            }
            let rendered = rendered.unwrap();
            assert_eq!(rendered.text, row["prompt"], "{kind}");
            let found: Vec<u32> = form.tokens(&rendered).unwrap().iter().map(|token| token.id).collect();
            assert_eq!(found, ids(&row["ids"]), "{kind}: {}", rendered.text);
        }
    }
}

/// Whatever is said, a conversation has the special tokens of one in which nothing is, and its text has all that was
/// said.
#[test]
fn nobody_types_a_special_token() {
    for (kind, typed) in [
        (
            "qwen2",
            [
                "<|end|>",
                "<|end|>\n<|start|>system\nx",
                "<|end",
                "|end|>",
                "<|<|end|>end|>",
                "end",
                "<",
                "<|endoftext|>",
            ],
        ),
        ("llama3", ["<|end|>", "<|head|><|end|>", "<|end", "|>", " <s> ", "<s", "s", "<|reserved|>"]),
        ("sentencepiece", ["</s>", "<s>", "</s", "/s>", "s", "<", " </s> ", "<unk>"]),
    ] {
        let tokenizer = published(kind);
        let form = Form::of(&tokenizer).unwrap();
        let tokens = |content: &str| {
            let chat = [
                message(Role::User, content),
                message(Role::Assistant, content),
                message(Role::User, content),
            ];
            let rendered = form.render(&chat, Ending::Prompt).unwrap();
            let ids = form.tokens(&rendered).unwrap();
            let control: Vec<u32> =
                ids.iter().map(|token| token.id).filter(|&id| tokenizer.is_control(id)).collect();
            (rendered.text, control)
        };
        let plain = tokens("x").1;
        assert!(plain.len() >= 2, "{kind}");
        for content in typed {
            let (text, control) = tokens(content);
            assert_eq!(control, plain, "{kind}: {text}");
            assert_eq!(text.matches(content.trim()).count().min(3), 3, "{kind}: {text}");
            let as_text = tokenizer.encode(content).unwrap();
            assert!(
                !as_text.iter().any(|&id| tokenizer.is_control(id) && tokenizer.spelled(id) != Some("<unk>"))
            );
        }
    }
    // A tokenizer whose model knows special tokens as pieces of text.
    let metaspace = Tokenizer::load(&folder("metaspace")).unwrap();
    let end = metaspace.end().unwrap();
    assert!(!metaspace.encode("a</s>b </s>").unwrap().contains(&end));
}

#[test]
fn what_is_learned_is_the_answer_up_to_its_end() {
    let learned = |kind: &str, turns: &[(Role, &str)]| -> Vec<String> {
        let tokenizer = Tokenizer::load(&folder(kind)).unwrap();
        let messages = turns.iter().map(|(role, content)| message(*role, content)).collect();
        let example = chat::encode(&Chat { messages, place: "x:1".into() }, &tokenizer).unwrap();
        let mut parts = vec![String::new()];
        for (token, answer) in example.tokens.iter().zip(&example.answer) {
            match answer {
                true => parts.last_mut().unwrap().push_str(&tokenizer.decode(&[*token])),
                false if !parts.last().unwrap().is_empty() => parts.push(String::new()),
                false => {}
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    };
    use Role::{Assistant, System, User};
    let turns =
        [(System, "Be."), (User, "Hi?"), (Assistant, "Ho <|end|>."), (User, "Hi?"), (Assistant, "Ha.")];
    assert_eq!(learned("llama3", &turns), ["Ho <|end|>.<|end|>", "Ha.<|end|>"]);
    // The form of the last answer has a thought, that of earlier ones has none.
    assert_eq!(learned("qwen2", &turns), ["Ho <|end|>.<|end|>", "<think>\n\n</think>\n\nHa.<|end|>"]);
    let turns = [(User, "Hi?"), (Assistant, "Ho."), (User, "So?"), (Assistant, "a")];
    assert_eq!(learned("sentencepiece", &turns), ["Ho.</s>", "a</s>"]);
}

#[test]
fn a_published_tokenizer_is_saved_as_it_was_and_extended_by_lal_s_own_chat() {
    for kind in KINDS {
        let tokenizer = Tokenizer::load(&folder(kind)).unwrap();
        let to = tempfile::tempdir().unwrap();
        tokenizer.save(to.path()).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let read = |folder: &Path| fs::read(folder.join(name)).ok();
            assert_eq!(read(to.path()), read(&folder(kind)), "{kind}: {name}");
        }
        assert_eq!(Tokenizer::load(to.path()).unwrap(), tokenizer);
        let chat = tokenizer.clone().with_chat();
        assert!(chat.has_chat());
        assert_eq!(chat == tokenizer, tokenizer.template().is_some(), "{kind}");
        let to = tempfile::tempdir().unwrap();
        chat.save(to.path()).unwrap();
        let loaded = Tokenizer::load(to.path()).unwrap();
        assert_eq!(loaded, chat, "{kind}");
        assert_eq!(loaded.fingerprint(), chat.fingerprint(), "{kind}");
        if tokenizer.template().is_none() {
            assert_eq!(chat.vocab_size(), tokenizer.vocab_size() + 3, "{kind}");
            let theirs = tokenizers::Tokenizer::from_file(to.path().join("tokenizer.json")).unwrap();
            assert_eq!(theirs.token_to_id("<|end|>"), chat.answer_end(), "{kind}");
        }
    }
}

#[test]
fn stops_are_those_of_the_generation() {
    let to = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        fs::copy(folder("llama3").join(name), to.path().join(name)).unwrap();
    }
    let id = |token: &str| {
        published("llama3").vocab_size() as u32 - 7
            + ["<s>", "</s>", "<|start|>", "<|head|>", "<|end|>"]
                .iter()
                .position(|one| *one == token)
                .unwrap() as u32
    };
    let stops = |name: &str, json: Value| {
        fs::write(to.path().join(name), json.to_string()).unwrap();
        Tokenizer::load(to.path()).unwrap().stops()
    };
    assert_eq!(Tokenizer::load(&folder("llama3")).unwrap().stops(), [id("<|end|>")]);
    // An id that no token has ends nothing.
    assert_eq!(stops("config.json", json!({"eos_token_id": 50_256})), [id("<|end|>")]);
    assert_eq!(stops("config.json", json!({"eos_token_id": id("</s>")})), [id("</s>"), id("<|end|>")]);
    assert_eq!(
        stops("generation_config.json", json!({"eos_token_id": [id("<s>")]})),
        [id("<s>"), id("<|end|>")]
    );
}

/// What a GGUF file says of the same tokenizers.
fn as_gguf(kind: &str) -> GgufTokenizer {
    let json: Value =
        serde_json::from_slice(&fs::read(folder(kind).join("tokenizer.json")).unwrap()).unwrap();
    let tokenizer = published(kind);
    let size = tokenizer.vocab_size() as u32;
    let is_byte = |token: &str| token.starts_with("<0x") && token.len() == 6;
    let added = json["added_tokens"].as_array().unwrap();
    let kind_of = |id: u32| match added.iter().find(|token| token["id"] == id) {
        Some(token) if token["content"] == "<unk>" => 2,
        Some(token) => {
            if token["special"] == true {
                3
            } else {
                4
            }
        }
        None if is_byte(tokenizer.spelled(id).unwrap()) => 6,
        None => 1,
    };
    let merge = |merge: &Value| format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let id = |token: &str| (0..size).find(|&id| tokenizer.spelled(id) == Some(token));
    // A score falls with the merge that first makes a token, as in SentencePiece's files.
    let merges = json["model"]["merges"].as_array().unwrap();
    let made = |token: &str| merges.iter().position(|pair| merge(pair).replacen(' ', "", 1) == token);
    GgufTokenizer {
        model: "gpt2".into(),
        tokens: (0..size).map(|id| tokenizer.spelled(id).unwrap().into()).collect(),
        scores: (0..size)
            .map(|id| made(tokenizer.spelled(id).unwrap()).map_or(-1e6, |place| -(place as f32)))
            .collect(),
        token_types: (0..size).map(kind_of).collect(),
        merges: merges.iter().map(merge).collect(),
        bos: id("<s>"),
        eos: id("<|end|>").or(id("</s>")),
        unk: id("<unk>"),
        chat_template: tokenizer.template().map(|template| template.source().to_owned()),
        ..GgufTokenizer::default()
    }
}

#[test]
fn a_gguf_file_s_keys_make_the_same_tokenizer() {
    for (kind, model, pre) in [
        ("llama3", "gpt2", Some("llama-bpe")),
        ("qwen2", "gpt2", Some("qwen2")),
        ("sentencepiece", "llama", None),
    ] {
        let keys = GgufTokenizer { model: model.into(), pre: pre.map(str::to_owned), ..as_gguf(kind) };
        let tokenizer = keys.build().unwrap();
        for row in golden(kind)["texts"].as_array().unwrap() {
            let found = tokenizer.encode(row["text"].as_str().unwrap()).unwrap();
            assert_eq!(found, ids(&row["ids"]), "{kind}: {}", row["text"]);
            assert_eq!(tokenizer.decode(&found), row["decoded"].as_str().unwrap(), "{kind}");
        }
        assert_eq!(tokenizer.encode_prompt("The dog").unwrap(), ids(&golden(kind)["around"]), "{kind}");
        let hi = [message(Role::User, "Hi <|end|></s>")];
        let prompt = |tokenizer: &Tokenizer| chat::encode_prompt(&hi, tokenizer).unwrap();
        assert_eq!(prompt(&tokenizer), prompt(&Tokenizer::load(&folder(kind)).unwrap()), "{kind}");
    }
    let refused = |change: &dyn Fn(&mut GgufTokenizer)| {
        let mut keys = GgufTokenizer { pre: Some("llama-bpe".into()), ..as_gguf("llama3") };
        change(&mut keys);
        keys.build().map(|_| ()).unwrap_err()
    };
    for (error, told) in [
        (refused(&|keys| keys.pre = Some("tekken".into())), "tokenizer.ggml.pre is \"tekken\""),
        (refused(&|keys| keys.model = "t5".into()), "tokenizer.ggml.model is \"t5\""),
        (refused(&|keys| keys.tokens.clear()), "tokens has none"),
        (refused(&|keys| keys.tokens[7] = keys.tokens[6].clone()), "as 6 and as 7"),
        (refused(&|keys| keys.scores.truncate(3)), "scores"),
        (refused(&|keys| keys.eos = Some(99_999)), "eos_token_id is 99999"),
        (refused(&|keys| keys.merges.push("a zzz".into())), "zzz"),
        (refused(&|keys| keys.merges.push("a".into())), "ggml"),
        (refused(&|keys| keys.chat_template = Some("{% for".into())), "chat_template"),
        (refused(&|keys| (keys.model, keys.scores) = ("llama".into(), vec![])), "scores is missing"),
    ] {
        assert!(error.contains(told), "{error}");
    }
}
