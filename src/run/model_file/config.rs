//! `config.json`: the configuration of the model in a folder, and its tokenizer's fingerprint.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::gguf;
use super::gpt2::{self, gpt2_config};
use super::layout::Layout;
use super::{ModelError, TokenizerMark};
use crate::files::{self, FileError, SETTINGS_BYTES};
use crate::interop::families::{Family, Heads};
use crate::interop::keys::{says_nothing, unknown};
use crate::models::config::ModelConfig;
use crate::models::details::Details;
use crate::text::tokenizer::Tokenizer;

pub const CONFIG: &str = "config.json";

/// The layout of run folders; raised when an older Lal could not read a newer one.
pub(super) const VERSION: u32 = 1;

/// What `transformers` has no word for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    version: u32,
    bias: bool,
    /// Of a model whose family knows only the longest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_size: Option<usize>,
    tokenizer: TokenizerMark,
}

/// The text of `config.json`.
pub fn config_json(config: &ModelConfig, tokenizer: &Tokenizer) -> String {
    format!("{:#}\n", config_value(Layout::of(config), config, tokenizer))
}

/// `config.json` in a layout that has words for the model.
pub fn config_value(layout: Layout, config: &ModelConfig, tokenizer: &Tokenizer) -> Value {
    let own = Own {
        version: VERSION,
        bias: config.bias,
        block_size: matches!(layout, Layout::Family(..)).then_some(config.block_size),
        tokenizer: TokenizerMark::of(tokenizer),
    };
    let mut json = match layout {
        Layout::Gpt2 => gpt2::json(config, tokenizer),
        Layout::Family(family, _) => {
            let mut json = family.describe(config);
            json["bos_token_id"] = tokenizer.begin().into();
            json["eos_token_id"] = tokenizer.end().into();
            json
        }
        // A folder is written as no GGUF file.
        Layout::Plain | Layout::Gguf(..) => {
            let mut model = json!(config);
            model["vocab_size"] = config.vocab_size.into();
            model["norm_eps"] = config.norm_eps.into();
            if config.details != Details::default() {
                model["details"] = json!(config.details);
            }
            json!({ "model_type": "lal", "model": model })
        }
    };
    json["lal"] = json!(own);
    json
}

/// Reads the `config.json` of a folder, or what a GGUF file says of its model. One without Lal's own part (GPT-2 as
/// published) has biases and no known tokenizer.
///
/// # Errors
/// When it is missing, of a newer Lal, neither a GPT-2 nor one of Lal's own models, or says something of the model
/// that Lal does not know: the error names it.
pub fn read_config(place: &Path) -> Result<(ModelConfig, Option<TokenizerMark>), ModelError> {
    let (config, mark, _) = described(place)?;
    Ok((config, mark))
}

/// The same, and its layout.
pub(super) fn described(place: &Path) -> Result<(ModelConfig, Option<TokenizerMark>, Layout), ModelError> {
    let (config, own, layout) = parse(place)?;
    Ok((config, own.map(|own| own.tokenizer), layout))
}

impl Layout {
    /// The layout of the model in a folder, according to its `config.json`, or of a GGUF file.
    pub fn stored(place: &Path) -> Result<Self, ModelError> {
        Ok(described(place)?.2)
    }
}

fn parse(place: &Path) -> Result<(ModelConfig, Option<Own>, Layout), ModelError> {
    if place.is_file() {
        let (config, layout) = gguf::read_config(place)?;
        return Ok((config, None, layout));
    }
    let path = place.join(CONFIG);
    let bytes = files::read(&path, SETTINGS_BYTES).map_err(FileError::at("read", &path))?;
    let bad = |what: String| ModelError::NotAConfig { path: path.clone(), what };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let own: Option<Own> = match json.get("lal") {
        Some(own) => match own["version"].as_u64().and_then(|version| u32::try_from(version).ok()) {
            Some(found) if found > VERSION => return Err(ModelError::Newer { path, found }),
            _ => Some(Own::deserialize(own).map_err(|error| bad(format!("lal: {error}")))?),
        },
        None => None,
    };
    let read = match json["model_type"].as_str() {
        Some("gpt2") => {
            gpt2_config(&json, own.as_ref().is_none_or(|own| own.bias)).map(|config| (config, Layout::Gpt2))
        }
        Some("lal") => own_config(&json).map(|config| (config, Layout::Plain)),
        name => match name.and_then(Family::named) {
            Some(family) => family_config(family, &json, own.as_ref()),
            None => Err(format!("model_type is {}", json["model_type"])),
        },
    };
    let (config, layout) = read.map_err(bad)?;
    config.check().map_err(|source| ModelError::Sizes { path, source })?;
    Ok((config, own, layout))
}

fn family_config(
    family: &'static Family,
    json: &Value,
    own: Option<&Own>,
) -> Result<(ModelConfig, Layout), String> {
    let mut config = family.read(json)?;
    if let Some(block_size) = own.and_then(|own| own.block_size) {
        config.block_size = block_size;
    }
    let layout = Layout::Family(family, Heads::of(&config));
    Ok((config, layout))
}

fn own_config(json: &Value) -> Result<ModelConfig, String> {
    for (key, value) in json.as_object().into_iter().flatten() {
        if !["model_type", "model", "lal"].contains(&key.as_str()) && !says_nothing(value) {
            return Err(unknown(key, value));
        }
    }
    ModelConfig::deserialize(&json["model"]).map_err(|error| format!("model: {error}"))
}
