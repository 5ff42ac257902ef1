//! What `transformers` makes of a chat: Jinja renders the template to a text, and the text is searched for special
//! tokens.

use std::fs;
use std::path::Path;

use lal::text::chat::{Message, Role, encode_prompt};
use lal::text::tokenizer::{Special, Tokenizer};
use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::Value;

/// The text of a chat and its tokens, as `apply_chat_template` makes them from the files of a folder.
fn applied(folder: &Path, tokenizer: &tokenizers::Tokenizer, messages: &[Message]) -> (String, Vec<u32>) {
    let config: Value =
        serde_json::from_slice(&fs::read(folder.join("tokenizer_config.json")).unwrap()).unwrap();
    let mut environment = Environment::new();
    environment.add_function("raise_exception", |what: String| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what))
    });
    let template = config["chat_template"].as_str().unwrap();
    let said = |message: &Message| {
        let role = serde_json::to_value(message.role).unwrap();
        context! { role => role.as_str().unwrap().to_owned(), content => message.content.clone() }
    };
    let messages: Vec<_> = messages.iter().map(said).collect();
    let text =
        environment.render_str(template, context! { messages, add_generation_prompt => true }).unwrap();
    let ids = tokenizer.encode(text.as_str(), false).unwrap().get_ids().to_vec();
    (text, ids)
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

#[test]
fn a_chat_has_the_same_tokens_as_here_and_special_ones_cannot_be_typed() {
    let chat = [
        message(Role::System, " Be kind. <b> & {{ x }}"),
        message(Role::User, "What is <| this |>?\n"),
        message(Role::Assistant, "\n A line's end.  \n\n"),
        message(Role::User, "So? \u{1F642}"),
    ];
    let typed: Vec<String> = Special::ALL
        .into_iter()
        .map(Special::content)
        .chain(["<|endoftext|>"])
        .flat_map(|special| [special.to_owned(), format!("<|{special}|>"), format!("{special}{special}")])
        .chain(["<|e<|end|>nd|>".to_owned(), "<<|end|>>".to_owned(), "<|end".to_owned(), "|end|>".to_owned()])
        .collect();
    let corpus: String =
        chat.iter().map(|message| message.content.as_str()).chain(["<|masternduxi>"]).collect();
    for name in ["char", "word", "byte", "bpe:257", "gpt2"] {
        let corpus = corpus.clone() + &typed.concat() + " || ";
        let tokenizer = Tokenizer::from_name(name, &corpus).unwrap().with_chat().with_mask();
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let theirs = tokenizers::Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
        let applied = |messages: &[Message]| applied(folder.path(), &theirs, messages);
        let (text, ids) = applied(&chat);
        assert_eq!(ids, encode_prompt(&chat, &tokenizer).unwrap(), "{name}: {text}");

        let special = |ids: &[u32]| -> Vec<u32> {
            let is_special = |id: &u32| {
                Special::ALL.iter().any(|&one| tokenizer.special(one) == Some(*id))
                    || tokenizer.begin() == Some(*id)
            };
            ids.iter().copied().filter(is_special).collect()
        };
        let plain = special(&applied(&[message(Role::User, "x")]).1);
        assert_eq!(plain.len(), 3);
        for content in &typed {
            let (text, ids) = applied(&[message(Role::User, content)]);
            assert_eq!(special(&ids), plain, "{name}: {text}");
        }
    }
}
