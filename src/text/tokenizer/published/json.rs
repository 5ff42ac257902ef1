//! The parts of a `tokenizer.json`, each read by the library, and what Lal checks of them first.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{
    Encoding, Model, ModelWrapper, NormalizerWrapper, PostProcessor, PostProcessorWrapper,
    PreTokenizerWrapper, Token,
};

use super::added::AddedToken;
use super::caught::caught;
use super::spelling::Spelling;

/// Ids above so many are no ids of tokens, but numbers that would ask for memory.
const MOST_IDS: u32 = 1 << 23;

/// Keys of the file. `truncation` and `padding` are for batches of fixed sizes; a text's tokens are what they are.
const KEYS: [&str; 9] = [
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
];

pub struct Parts {
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokenizer: Option<PreTokenizerWrapper>,
    pub model: ModelWrapper,
    pub spelling: Spelling,
    pub tokens: Vec<Option<String>>,
    pub added: Vec<AddedToken>,
    pub around: [Vec<u32>; 2],
    pub rules: String,
}

impl Parts {
    pub fn read(text: &str) -> Result<Self, String> {
        let mut json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let keys = json.as_object().ok_or("it is no JSON object")?;
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("its {key} is unknown"));
        }
        if json["version"] != "1.0" && !json["version"].is_null() {
            return Err(format!("its version is {}, and this reads \"1.0\"", json["version"]));
        }
        if json["model"]["dropout"].as_f64().is_some_and(|share| share > 0.0) {
            return Err(format!(
                "its model.dropout is {}, so that no text has the same ids twice: set it to null",
                json["model"]["dropout"]
            ));
        }
        let added: Vec<AddedToken> = match json["added_tokens"].take() {
            Value::Null => Vec::new(),
            list => Vec::deserialize(list).map_err(|error| format!("its added_tokens: {error}"))?,
        };
        let rules = rules(&json, &added)?;
        let spelling = Spelling::read(&json["decoder"])?;
        let normalizer = part(&mut json, "normalizer")?;
        let pre_tokenizer = part(&mut json, "pre_tokenizer")?;
        let post: Option<PostProcessorWrapper> = part(&mut json, "post_processor")?;
        let model: ModelWrapper = part(&mut json, "model")?.ok_or("it has no model")?;
        let tokens = tokens(&model, &added)?;
        let around = around(post, &tokens)?;
        Ok(Self { normalizer, pre_tokenizer, model, spelling, tokens, added, around, rules })
    }
}

/// A part of the file as the library reads it; `None` where it is null or missing.
fn part<T: DeserializeOwned>(json: &mut Value, key: &str) -> Result<Option<T>, String> {
    let value = json[key].take();
    if value.is_null() {
        return Ok(None);
    }
    let kind = value["type"].as_str().map(|kind| format!(" of type {kind}")).unwrap_or_default();
    let read = caught(|| Ok(T::deserialize(value)?));
    read.map(Some).map_err(|error| format!("its {key}{kind} cannot be read: {error}"))
}

/// Everything that decides ids, without the tokens themselves.
fn rules(json: &Value, added: &[AddedToken]) -> Result<String, String> {
    let mut rules = String::new();
    for key in ["normalizer", "pre_tokenizer"] {
        rules += &format!("{key} {}\n", json[key]);
    }
    for (key, value) in json["model"].as_object().ok_or("it has no model")? {
        // The tokens have a fingerprint of their own, but for the scores of theirs.
        if key != "vocab" || value.is_array() {
            rules += &format!("{key} {value}\n");
        }
    }
    for token in added {
        rules += &format!("{token:?}\n");
    }
    Ok(rules)
}

/// Every token by its id.
fn tokens(model: &ModelWrapper, added: &[AddedToken]) -> Result<Vec<Option<String>>, String> {
    let vocabulary = caught(|| Ok(model.get_vocab()))?;
    let size = vocabulary.len() + added.len();
    // Gaps there are, but no more than tokens.
    let most = (2 * size + 1024).min(MOST_IDS as usize);
    let mut tokens: Vec<Option<String>> = Vec::new();
    let mut put = |id: u32, content: String, at: &str| {
        if id as usize >= most {
            return Err(format!("its {at} has {content:?} as {id}, and there are {size} tokens"));
        }
        if id as usize >= tokens.len() {
            tokens.resize(id as usize + 1, None);
        }
        match &tokens[id as usize] {
            Some(other) if *other != content => {
                Err(format!("its {at} has {content:?} as {id}, and that is {other:?}"))
            }
            _ => {
                tokens[id as usize] = Some(content);
                Ok(())
            }
        }
    };
    let mut vocabulary: Vec<_> = vocabulary.into_iter().collect();
    vocabulary.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    for (content, id) in vocabulary {
        put(id, content, "model.vocab")?;
    }
    let mut contents = HashSet::new();
    for token in added {
        if token.content.is_empty() {
            return Err(format!("the added token {} is empty", token.id));
        }
        if !contents.insert(&token.content) {
            return Err(format!("its added_tokens have {:?} twice", token.content));
        }
        if model.token_to_id(&token.content).is_some_and(|id| id != token.id) {
            return Err(format!(
                "its added_tokens have {:?} as {}, and model.vocab has another id",
                token.content, token.id
            ));
        }
        put(token.id, token.content.clone(), "added_tokens")?;
    }
    if tokens.is_empty() { Err("its model.vocab is empty".into()) } else { Ok(tokens) }
}

/// What the post-processor puts before and after a text, found out with a text of one token.
fn around(post: Option<PostProcessorWrapper>, tokens: &[Option<String>]) -> Result<[Vec<u32>; 2], String> {
    let Some(post) = post else { return Ok(Default::default()) };
    let mark = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(mark, "x".into(), (0, 1))], 0);
    let whole =
        caught(|| post.process(text, None, true)).map_err(|error| format!("its post_processor: {error}"))?;
    let ids = whole.get_ids();
    let at = ids.iter().position(|&id| id == mark).ok_or("its post_processor leaves the text out")?;
    let around = [ids[..at].to_vec(), ids[at + 1..].to_vec()];
    match around.iter().flatten().find(|&&id| tokens.get(id as usize).is_none_or(Option::is_none)) {
        Some(id) => Err(format!("its post_processor adds the token {id}, which is none")),
        None => Ok(around),
    }
}
