//! The keys of a `config.json`, read one by one. A key that is not read may change what the model computes: it is
//! refused by name.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Keys that say nothing of the model's logits, whatever their value: who wrote the file, how weights began, how
/// `transformers` writes texts, and heads that are not the language model's.
const IRRELEVANT: [&str; 78] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    // What `transformers` keeps of a GGUF file's title.
    "_model_name_or_path",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "lal",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    // How the pretraining was spread over devices; its results are the same but for rounding.
    "pretraining_tp",
    "problem_type",
    // Scales keys before the product and not after it: the same but for rounding.
    "reorder_and_upcast_attn",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "use_cache",
];

/// A JSON object, and which of its keys have been read.
pub struct Keys<'a> {
    object: &'a Map<String, Value>,
    read: HashSet<&'static str>,
    /// Before the names of keys in errors.
    scope: &'static str,
}

impl<'a> Keys<'a> {
    pub fn of(value: &'a Value) -> Result<Self, String> {
        Self::within(value, "")
    }

    fn within(value: &'a Value, scope: &'static str) -> Result<Self, String> {
        let object = value.as_object().ok_or("it is no JSON object")?;
        Ok(Self { object, read: HashSet::new(), scope })
    }

    /// The value of a key; `null` is as good as none.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.insert(key);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, be it with `null`.
    pub fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// The object of a key, whose keys are to be read as well.
    pub fn object(&mut self, key: &'static str) -> Result<Option<Keys<'a>>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        Self::within(value, key).map(Some).map_err(|_| self.wrong(key, value, "an object"))
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> String {
        format!("{}{key} is {value}, not {wanted}", self.prefix())
    }

    fn prefix(&self) -> String {
        if self.scope.is_empty() { String::new() } else { format!("{}.", self.scope) }
    }

    pub fn size(&mut self, key: &'static str) -> Result<usize, String> {
        self.find_size(key)?.ok_or_else(|| format!("{}{key} is missing", self.prefix()))
    }

    pub fn find_size(&mut self, key: &'static str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.wrong(key, value, "a whole number"))
    }

    pub fn number(&mut self, key: &'static str, default: f64) -> Result<f64, String> {
        Ok(self.find_number(key)?.unwrap_or(default))
    }

    pub fn find_number(&mut self, key: &'static str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(key, value, "a number"))
    }

    pub fn truth(&mut self, key: &'static str, default: bool) -> Result<bool, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    pub fn word(&mut self, key: &'static str, default: &'a str) -> Result<&'a str, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| self.wrong(key, value, "a string"))
    }

    /// Checks a key that decides what the model computes, and of which Lal has one value alone, the default.
    pub fn fixed(&mut self, key: &'static str, only: impl Into<Value>) -> Result<(), String> {
        let only = only.into();
        match self.get(key) {
            Some(value) if *value != only => {
                Err(format!("{}{key} is {value}, and Lal has only {only}", self.prefix()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses keys that were not read.
    pub fn finish(self) -> Result<(), String> {
        for (key, value) in self.object {
            let is_known = self.read.contains(key.as_str()) || IRRELEVANT.contains(&key.as_str());
            if !is_known && !says_nothing(value) {
                return Err(unknown(&format!("{}{key}", self.prefix()), value));
            }
        }
        Ok(())
    }
}

/// What stands for "not there".
pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

pub fn unknown(key: &str, value: &Value) -> String {
    format!(
        "{key} is {value}, a key that Lal does not know: take it out if the model computes the same without"
    )
}
