//! What the other files of a folder say of its tokenizer: which tokens are special, where a text begins and a turn
//! ends, and the form of a conversation.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::added::AddedToken;
use crate::text::template::Template;

pub const CONFIG: &str = "tokenizer_config.json";
pub const SPECIAL: &str = "special_tokens_map.json";
pub const GENERATION: &str = "generation_config.json";
pub const MODEL: &str = "config.json";
pub const TEMPLATE: &str = "chat_template.jinja";

/// The files of a tokenizer, as text; those that are not there are `None`.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub tokenizer: String,
    pub config: Option<String>,
    pub special: Option<String>,
    pub generation: Option<String>,
    pub template: Option<String>,
    /// The `eos_token_id` of the model's `config.json`, for folders without a `generation_config.json`.
    pub model: Option<Value>,
}

impl Files {
    /// The names of those that are kept with a tokenizer, and their texts.
    pub fn kept(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let others = [
            (CONFIG, &self.config),
            (SPECIAL, &self.special),
            (GENERATION, &self.generation),
            (TEMPLATE, &self.template),
        ];
        others.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }
}

/// Tokens with a part, by the names of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Begin,
    End,
    Unknown,
    Pad,
    Mask,
    Separator,
    Class,
}

/// With the keys of `tokenizer_config.json`.
pub const ROLES: [(Role, &str); 7] = [
    (Role::Begin, "bos_token"),
    (Role::End, "eos_token"),
    (Role::Unknown, "unk_token"),
    (Role::Pad, "pad_token"),
    (Role::Mask, "mask_token"),
    (Role::Separator, "sep_token"),
    (Role::Class, "cls_token"),
];

/// What is said of special tokens.
#[derive(Debug, Default)]
pub struct Settings {
    /// The tokens with a part, and their ids.
    roles: Vec<(Role, String, u32)>,
    /// Any of these ends what a model writes.
    stops: Vec<u32>,
    /// Whether a text begins with the first token, where a file says so.
    begins: Option<bool>,
    /// The form of conversations.
    pub template: Option<Template>,
}

type Wrong = (&'static str, String);

impl Settings {
    /// Reads the files, and adds tokens to `tokens` and `added` that only `tokenizer_config.json` has.
    pub fn read(
        files: &Files,
        tokens: &mut Vec<Option<String>>,
        added: &mut Vec<AddedToken>,
    ) -> Result<Self, Wrong> {
        let config = object(CONFIG, files.config.as_deref())?;
        let special = object(SPECIAL, files.special.as_deref())?;
        let generation = object(GENERATION, files.generation.as_deref())?;
        more_tokens(&config, tokens, added).map_err(|what| (CONFIG, what))?;
        let id = |content: &str| tokens.iter().position(|token| token.as_deref() == Some(content));
        let mut roles = Vec::new();
        for (role, key) in ROLES {
            let (file, value) = match (&config[key], &special[key]) {
                (Value::Null, other) => (SPECIAL, other),
                (value, _) => (CONFIG, value),
            };
            let content = match value {
                Value::Null => continue,
                Value::String(content) => content,
                Value::Object(keys) if keys.get("content").is_some_and(Value::is_string) => {
                    keys["content"].as_str().unwrap_or_default()
                }
                _ => return Err((file, format!("{key} is {value}, and no token"))),
            };
            match id(content) {
                Some(id) => roles.push((role, content.to_owned(), id as u32)),
                // Old files name an unknown token that none of theirs is.
                None if role != Role::Begin && role != Role::End => {}
                None => {
                    return Err((
                        file,
                        format!("{key} is {content:?}, and {} has no such token", super::TOKENIZER),
                    ));
                }
            }
        }
        let begins = match &config["add_bos_token"] {
            Value::Null => None,
            Value::Bool(begins) => Some(*begins),
            other => return Err((CONFIG, format!("add_bos_token is {other}, neither true nor false"))),
        };
        let mut settings = Self { roles, stops: Vec::new(), begins, template: None };
        let (file, ends) = match &generation["eos_token_id"] {
            Value::Null => (MODEL, files.model.as_ref().unwrap_or(&Value::Null)),
            ends => (GENERATION, ends),
        };
        let mut stops = ids(ends).map_err(|what| (file, format!("eos_token_id {what}")))?;
        stops.extend(settings.id(Role::End));
        // A model has rows that no token has, and configurations keep ids of others: what is never read ends nothing.
        stops.retain(|&id| tokens.get(id as usize).is_some_and(Option::is_some));
        stops.sort_unstable();
        stops.dedup();
        settings.stops = stops;
        settings.template = template(files, &config)?;
        Ok(settings)
    }

    /// The id of the token with a part.
    pub fn id(&self, role: Role) -> Option<u32> {
        self.roles.iter().find(|(one, ..)| *one == role).map(|(.., id)| *id)
    }

    /// The tokens with a part by the keys of `transformers`, for a template.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let key = |role: Role| ROLES.iter().find(|(one, _)| *one == role).map_or("", |(_, key)| *key);
        self.roles.iter().map(move |(role, content, _)| (key(*role), content.as_str()))
    }

    /// The ids any of which ends what a model writes, in ascending order.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// What stands before and after a text, where `around` is what `tokenizer.json` says.
    pub fn around(&self, mut around: [Vec<u32>; 2]) -> [Vec<u32>; 2] {
        if let (Some(begins), Some(id)) = (self.begins, self.id(Role::Begin)) {
            let has = around[0].contains(&id);
            match begins {
                true if !has => around[0].insert(0, id),
                false => around[0].retain(|&one| one != id),
                true => {}
            }
        }
        around
    }

    /// The tokens that are no text: special ones, and those that have a part.
    pub fn control(&self, added: &[AddedToken], tokens: &[Option<String>]) -> HashMap<u32, String> {
        let special = added.iter().filter(|token| token.special).map(|token| token.id);
        let ids = special.chain(self.roles.iter().map(|(.., id)| *id)).chain(self.stops.iter().copied());
        ids.filter_map(|id| Some((id, tokens.get(id as usize)?.clone()?))).collect()
    }
}

fn object(name: &'static str, text: Option<&str>) -> Result<Value, Wrong> {
    let Some(text) = text else { return Ok(Value::Object(Default::default())) };
    let json: Value = serde_json::from_str(text).map_err(|error| (name, error.to_string()))?;
    if json.is_object() { Ok(json) } else { Err((name, "it is no JSON object".into())) }
}

/// An id, or several.
fn ids(value: &Value) -> Result<Vec<u32>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(|one| id(one).ok_or(value)).collect::<Result<_, _>>(),
        one => id(one).map(|id| vec![id]).ok_or(value),
    }
    .map_err(|value| format!("is {value}, neither the id of a token nor a list of them"))
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// The tokens of `added_tokens_decoder`, which are in `tokenizer.json` as well, or are added to it.
fn more_tokens(
    config: &Value,
    tokens: &mut Vec<Option<String>>,
    added: &mut Vec<AddedToken>,
) -> Result<(), String> {
    const KEY: &str = "added_tokens_decoder";
    let Some(more) = config[KEY].as_object() else { return Ok(()) };
    let mut more: Vec<_> = more
        .iter()
        .map(|(id, token)| {
            let number: u32 = id.parse().map_err(|_| format!("{KEY} has {id:?}, which is no id"))?;
            let mut token = token.clone();
            if let Some(keys) = token.as_object_mut() {
                keys.insert("id".into(), number.into());
            }
            AddedToken::deserialize(token).map_err(|error| format!("{KEY} has {id:?}: {error}"))
        })
        .collect::<Result<_, _>>()?;
    more.sort_by_key(|token| token.id);
    for token in more {
        match tokens.get(token.id as usize) {
            Some(Some(known)) if *known == token.content => {}
            Some(None) if !token.content.is_empty() => {
                tokens[token.id as usize] = Some(token.content.clone());
                added.push(token);
            }
            None if token.id as usize == tokens.len() && !token.content.is_empty() => {
                tokens.push(Some(token.content.clone()));
                added.push(token);
            }
            _ => {
                return Err(format!(
                    "{KEY} has {:?} as {}, and {} has not",
                    token.content,
                    token.id,
                    super::TOKENIZER
                ));
            }
        }
    }
    Ok(())
}

/// The form of conversations, from a file of its own or the configuration's.
fn template(files: &Files, config: &Value) -> Result<Option<Template>, Wrong> {
    let (file, source) = match (&files.template, &config["chat_template"]) {
        (Some(text), _) => (TEMPLATE, text.as_str()),
        (None, Value::Null) => return Ok(None),
        (None, Value::String(text)) => (CONFIG, text.as_str()),
        (None, Value::Array(list)) => {
            let default = list.iter().find(|one| one["name"] == "default");
            let source = default.and_then(|one| one["template"].as_str());
            (CONFIG, source.ok_or((CONFIG, "chat_template has none with the name \"default\"".into()))?)
        }
        (None, other) => return Err((CONFIG, format!("chat_template is {other}, and no text"))),
    };
    if source == super::super::folder::CHAT_TEMPLATE {
        return Ok(None);
    }
    Template::new(source).map(Some).map_err(|what| (file, format!("its chat template: {what}")))
}
