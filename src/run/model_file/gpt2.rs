//! GPT-2's `config.json`, and its tensors: linear layers there are `Conv1D`, whose weights are (in, out) where ours are
//! (out, in), and always have biases.

use serde_json::{Value, json};

use crate::engine::tensor::Shape;
use crate::interop::activations::{activation, activation_name};
use crate::interop::keys::Keys;
use crate::models::config::ModelConfig;
use crate::run::tensor_file::Entry;
use crate::text::tokenizer::Tokenizer;

/// What `transformers` takes where a key is missing.
const DROPOUT: f64 = 0.1;
const EPSILON: f64 = 1e-5;

pub(super) fn json(config: &ModelConfig, tokenizer: &Tokenizer) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": (config.n_inner != 4 * config.n_embd).then_some(config.n_inner),
        "activation_function": activation_name(config.feed_forward),
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
    let mut keys = Keys::of(json)?;
    let [vocab_size, n_positions] = [keys.size("vocab_size")?, keys.size("n_positions")?];
    let [n_layer, n_head, n_embd] = [keys.size("n_layer")?, keys.size("n_head")?, keys.size("n_embd")?];
    if let Some(n_ctx) = keys.find_size("n_ctx")?.filter(|&n_ctx| n_ctx != n_positions) {
        return Err(format!("n_ctx is {n_ctx}, and n_positions is another: Lal has one length for both"));
    }
    let dropout = keys.number("resid_pdrop", DROPOUT)?;
    for other in ["embd_pdrop", "attn_pdrop"] {
        let found = keys.number(other, DROPOUT)?;
        if found != dropout {
            return Err(format!(
                "{other} is {found} and resid_pdrop {dropout}, and Lal has one dropout for all three: set them alike"
            ));
        }
    }
    keys.fixed("scale_attn_weights", true)?;
    for key in ["scale_attn_by_inverse_layer_idx", "add_cross_attention", "is_encoder_decoder"] {
        keys.fixed(key, false)?;
    }
    let sizes = ModelConfig::gpt(vocab_size, n_positions, n_layer, n_head, n_embd);
    let config = ModelConfig {
        bias,
        dropout,
        norm_eps: keys.number("layer_norm_epsilon", EPSILON)?,
        n_inner: keys.find_size("n_inner")?.unwrap_or(sizes.n_inner),
        tied: keys.truth("tie_word_embeddings", true)?,
        feed_forward: activation("activation_function", keys.word("activation_function", "gelu_new")?)?,
        ..sizes
    };
    keys.finish()?;
    Ok(config)
}

/// The matrix of a linear layer: `…attn.c_attn.weight`, `…mlp.c_proj.weight`.
pub(super) fn is_matrix(parameter: &Entry) -> bool {
    let mut parts = parameter.name.rsplit('.');
    parts.next() == Some("weight") && parts.next().is_some_and(|layer| layer.starts_with("c_"))
}

pub(super) fn in_file(parameter: &Entry) -> Entry {
    match parameter.shape.dims() {
        &[rows, columns] if is_matrix(parameter) => {
            Entry { name: parameter.name.clone(), shape: [columns, rows].into() }
        }
        _ => parameter.clone(),
    }
}

/// The bias that `transformers` expects with a weight, if the model has none.
pub(super) fn absent_bias(parameter: &Entry, all: &[Entry]) -> Option<Entry> {
    let layer = parameter.name.strip_suffix(".weight")?;
    let has_none = [".wte", ".wpe"].iter().any(|table| layer.ends_with(table));
    let has_none = has_none || ["lm_head", "score"].contains(&layer);
    let name = format!("{layer}.bias");
    let wanted = !has_none && !all.iter().any(|other| other.name == name);
    wanted.then(|| Entry { name, shape: [parameter.shape.dims()[0]].into() })
}

/// The columns of a (rows, columns) matrix one after the other.
pub(super) fn transposed(elements: &[f32], shape: Shape) -> Vec<f32> {
    let columns = shape.width();
    (0..columns).flat_map(|column| elements.iter().skip(column).step_by(columns).copied()).collect()
}
