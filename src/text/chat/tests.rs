use super::*;
use crate::text::tales::{Part, Tales, jsonl};

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

#[track_caller]
fn complains(text: &str, parts: &[&str]) {
    let error = parse("chats.jsonl", text).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn every_format_says_the_same() {
    let wanted = [message(Role::User, "Hi?"), message(Role::Assistant, "Ho.")];
    let lines = [
        r#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}"#,
        r#"{"prompt": "Hi?", "response": "Ho.", "known": true}"#,
        "",
        r#"{"prompt": "Hi?", "completion": "Ho."}"#,
        r#"{"prompt": [{"role": "user", "content": "Hi?"}], "completion": [{"role": "assistant", "content": "Ho."}]}"#,
        r#"{"instruction": "Hi?", "input": "", "output": "Ho."}"#,
        r#"{"instruction": "Hi?", "output": "Ho.", "text": "Below is an instruction …"}"#,
        r#"{"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Ho."}]}"#,
        r#"{"id": 1, "conversations": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}"#,
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Ho."}]}]}"#,
    ]
    .map(|line| line.replace('\n', " "));
    let chats = parse("a.jsonl", &lines.join("\n\u{feff}")).unwrap();
    assert!(chats.len() == 9 && chats.iter().all(|chat| chat.messages == wanted));
    assert_eq!(parse("b.jsonl", &line(&wanted)).unwrap()[0].messages, wanted);
    assert_eq!((chats[1].place.as_str(), chats[2].place.as_str()), ("a.jsonl:2", "a.jsonl:4"));
}

#[test]
fn an_input_and_a_system_are_told_as_well() {
    let text = r#"{"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be brief."}"#;
    let wanted = [
        message(Role::System, "Be brief."),
        message(Role::User, "Add.\n\n1 2"),
        message(Role::Assistant, "3"),
    ];
    assert_eq!(parse("a.jsonl", text).unwrap()[0].messages, wanted);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let good = r#"{"prompt": "a", "response": "b"}"#;
    complains("\n \n", &["chats.jsonl", "no conversation"]);
    complains(&format!("{good}\n{{\"prompt\": "), &["chats.jsonl:2: ", "no JSON", "column"]);
    complains("[1]", &["chats.jsonl:1: ", "no JSON object"]);
    complains("[{\"prompt\": \"a\"}]", &["chats.jsonl:1: ", "an array", "jq"]);
    complains("{}", &["neither messages nor a prompt", r#"{"messages": [{"role": "user", "content": "#]);
    complains(r#"{"text": "a"}"#, &["neither messages", r#"{"role": "assistant", "content": "Ho."}]}"#]);
    complains(r#"{"instruction": "a"}"#, &["no output"]);
    complains(r#"{"instruction": "a", "input": 3, "output": "b"}"#, &["the input is no string"]);
    let parts = r#"{"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "response": "b"}"#;
    complains(parts, &["message 1 of prompt", "image_url", "only text"]);
    let tool =
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "b"}]}"#;
    complains(tool, &["message 2 of conversations", "function_call"]);
    complains(r#"{"prompt": "a"}"#, &["neither a response nor a completion"]);
    complains(r#"{"prompt": 3, "response": "b"}"#, &["prompt is neither a string"]);
    complains(r#"{"prompt": "a", "completion": null}"#, &["completion is neither a string"]);
    complains(r#"{"prompt": "a", "response": ""}"#, &["empty"]);
    complains(r#"{"messages": "a"}"#, &["messages is not a list"]);
    complains(r#"{"messages": []}"#, &["last word"]);
    complains(r#"{"messages": [{"role": "user", "content": "a"}]}"#, &["last word"]);
    complains(r#"{"messages": [{"content": "a"}]}"#, &["message 1 of messages has no role"]);
    complains(r#"{"messages": [{"role": "user"}]}"#, &["message 1 of messages has no content"]);
    complains(r#"{"messages": [{"role": "user", "content": 1}]}"#, &["message 1", "no string"]);
    complains(r#"{"messages": [{"role": "tool", "content": "a"}]}"#, &["\"tool\"", "assistant"]);
    complains(
        r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
        &["after 0 turns", "one of the assistant", "the user should speak"],
    );
    let twice = r#"{"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "a"}]}"#;
    complains(twice, &["one of the system"]);
}

#[test]
fn a_missing_file_is_named() {
    let error = read(Path::new("no/such.jsonl")).unwrap_err().to_string();
    assert!(error.contains("no/such.jsonl"), "{error}");
}

/// Characters ! a b . are 1, 3, 4, 2, after the newline's 0; user, assistant, end are 5, 6, 7.
#[test]
fn tokens_and_what_is_learned_by_hand() {
    let tokenizer = Tokenizer::from_name("char", "!ab.\n").unwrap().with_chat();
    let line = r#"{"messages": [{"role": "system", "content": "!"}, {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "b."}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a"}]}"#
        .replace('\n', " ");
    let chats = parse("x", &line).unwrap();
    let example = encode(&chats[0], &tokenizer).unwrap();
    assert_eq!(example.tokens, [5, 1, 0, 0, 3, 4, 7, 6, 4, 2, 7, 5, 3, 7, 6, 3, 7]);
    let learned: Vec<usize> = (0..17).filter(|&at| example.answer[at]).collect();
    assert_eq!(learned, [8, 9, 10, 15, 16]);
    let prompt = encode_prompt(&chats[0].messages[..2], &tokenizer).unwrap();
    assert_eq!(prompt, example.tokens[..8]);
}

#[test]
fn the_last_answer_ends_before_its_end() {
    let answer = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1].map(|learned| learned == 1).to_vec();
    let example = Example { tokens: (10..20).collect(), answer, place: String::new() };
    let (prompt, wanted) = example.last_exchange();
    assert_eq!((prompt, wanted), (&[10, 11, 12, 13, 14, 15, 16][..], &[17, 18][..]));
}

#[test]
fn a_tokenizer_without_the_tokens_or_characters_is_refused() {
    let chats = parse("x.jsonl", r#"{"prompt": "a", "response": "z"}"#).unwrap();
    let tokenizer = Tokenizer::from_name("char", "ab").unwrap();
    let error = |tokenizer: &Tokenizer| encode(&chats[0], tokenizer).unwrap_err().to_string();
    assert!(error(&tokenizer).contains("char tokenizer has no chat tokens"));
    assert!(error(&tokenizer.with_chat()).contains("x.jsonl:1: the character 'z'"));
}

#[test]
fn the_tales_questions_are_conversations() {
    let exchanges = Tales::new().questions(1, 20, Part::Train, 240);
    let chats = parse("sft.jsonl", &jsonl(&exchanges)).unwrap();
    for (chat, exchange) in chats.iter().zip(&exchanges) {
        let wanted = [message(Role::User, &exchange.prompt()), message(Role::Assistant, &exchange.answer)];
        assert_eq!(chat.messages, wanted);
    }
    assert_eq!(chats.len(), 20);
}

/// Templates write a line's end after the token that ends a turn.
#[test]
fn an_answer_ends_where_learning_does() {
    let answer = [0, 1, 0, 0, 1, 1, 0].map(|learned| learned == 1).to_vec();
    let example = Example { tokens: (10..17).collect(), answer, place: String::new() };
    assert_eq!(example.last_exchange(), (&[10, 11, 12, 13][..], &[14][..]));
    assert_eq!(example.end(), Some(5));
    let none = Example { answer: vec![false; 7], ..example };
    assert_eq!((none.last_exchange().0.len(), none.end()), (7, None));
}
