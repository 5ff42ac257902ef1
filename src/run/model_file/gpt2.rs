//! GPT-2's `config.json`, every key of it: what Lal honours, what says nothing of the model, and what is refused.

use serde_json::{Map, Value, json};

use crate::interop::keys::{says_nothing, unknown};
use crate::models::config::ModelConfig;
use crate::nn::mlp::FeedForward;
use crate::text::tokenizer::Tokenizer;

/// Non-linear functions by the names of `transformers`, the one that Lal writes first.
const ACTIVATIONS: [(&str, FeedForward); 10] = [
    ("gelu", FeedForward::Gelu),
    ("gelu_python", FeedForward::Gelu),
    ("gelu_new", FeedForward::GeluTanh),
    ("gelu_pytorch_tanh", FeedForward::GeluTanh),
    ("gelu_python_tanh", FeedForward::GeluTanh),
    ("gelu_fast", FeedForward::GeluTanh),
    ("gelu_accurate", FeedForward::GeluTanh),
    ("relu", FeedForward::Relu),
    ("relu2", FeedForward::Relu2),
    ("linear", FeedForward::Linear),
];

/// What `transformers` takes where a key is missing.
const DROPOUT: f64 = 0.1;
const EPSILON: f64 = 1e-5;

/// Keys that decide what the model computes and are read one by one.
const READ: [&str; 12] = [
    "vocab_size",
    "n_positions",
    "n_layer",
    "n_head",
    "n_embd",
    "n_inner",
    "activation_function",
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "layer_norm_epsilon",
    "tie_word_embeddings",
];

/// Keys that decide what the model computes, and the one value of theirs that Lal's GPT-2 has.
const FIXED: [(&str, bool); 4] = [
    ("scale_attn_weights", true),
    ("scale_attn_by_inverse_layer_idx", false),
    ("add_cross_attention", false),
    ("is_encoder_decoder", false),
];

/// Keys that say nothing of the model's logits, whatever their value: who wrote the file, how weights began, how
/// `transformers` writes texts, and heads that are not the language model's.
const IRRELEVANT: [&str; 72] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
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
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "use_cache",
];

pub(super) fn json(config: &ModelConfig, tokenizer: &Tokenizer) -> Value {
    let activation = ACTIVATIONS.iter().find(|(_, function)| *function == config.feed_forward);
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": (config.n_inner != 4 * config.n_embd).then_some(config.n_inner),
        "activation_function": activation.map(|(name, _)| name),
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": 0.02,
        "tie_word_embeddings": config.tied,
        // Not left out: where these are missing, `transformers` takes 50256.
        "bos_token_id": tokenizer.begin(),
        "eos_token_id": tokenizer.end(),
        "torch_dtype": "float32",
    })
}

/// The model that GPT-2's `config.json` describes; `bias` is Lal's own word.
pub(super) fn gpt2_config(json: &Value, bias: bool) -> Result<ModelConfig, String> {
    let keys = json.as_object().ok_or("it is no JSON object")?;
    only_known(keys)?;
    let size = |key: &str| {
        let size = json[key].as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| format!("{key} is {}, not a whole number", json[key]))
    };
    let number = |key: &str, default: f64| match &json[key] {
        Value::Null => Ok(default),
        value => value.as_f64().ok_or_else(|| format!("{key} is {value}, not a number")),
    };
    let truth = |key: &str, default: bool| match &json[key] {
        Value::Null => Ok(default),
        value => value.as_bool().ok_or_else(|| format!("{key} is {value}, neither true nor false")),
    };
    let [vocab_size, n_positions] = [size("vocab_size")?, size("n_positions")?];
    let sizes = ModelConfig::gpt(vocab_size, n_positions, size("n_layer")?, size("n_head")?, size("n_embd")?);
    let dropout = number("resid_pdrop", DROPOUT)?;
    for other in ["embd_pdrop", "attn_pdrop"] {
        let found = number(other, DROPOUT)?;
        if found != dropout {
            return Err(format!(
                "{other} is {found} and resid_pdrop {dropout}, and Lal has one dropout for all three: set them alike"
            ));
        }
    }
    Ok(ModelConfig {
        bias,
        dropout,
        norm_eps: number("layer_norm_epsilon", EPSILON)?,
        n_inner: if json["n_inner"].is_null() { sizes.n_inner } else { size("n_inner")? },
        tied: truth("tie_word_embeddings", true)?,
        feed_forward: activation(&json["activation_function"])?,
        ..sizes
    })
}

fn activation(name: &Value) -> Result<FeedForward, String> {
    let name = if name.is_null() { "gelu_new" } else { name.as_str().unwrap_or_default() };
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, function)| *function).ok_or_else(|| {
        let names = ACTIVATIONS.map(|(name, _)| name).join(", ");
        format!("activation_function is {name:?}, and Lal has {names}")
    })
}

/// A key that Lal has no word for may change what the model computes, unless it says that something is not there.
fn only_known(keys: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in keys {
        let key = key.as_str();
        if let Some((_, wanted)) = FIXED.iter().find(|(fixed, _)| *fixed == key) {
            if !value.is_null() && value != wanted {
                return Err(format!("{key} is {value}, and Lal's GPT-2 has only {wanted}"));
            }
        } else if key == "n_ctx" {
            if keys.get("n_positions") != Some(value) {
                return Err(format!(
                    "n_ctx is {value}, and n_positions is another: Lal has one length for both"
                ));
            }
        } else if !READ.contains(&key) && !IRRELEVANT.contains(&key) && !says_nothing(value) {
            return Err(unknown(key, value));
        }
    }
    Ok(())
}
