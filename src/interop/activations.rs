//! Non-linear functions by their names.

use crate::nn::mlp::FeedForward;

/// Non-linear functions by the names of `transformers`, the one that Lal writes first; gates have those of their
/// function.
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

/// The function of a feed-forward half without a gate.
pub fn activation(key: &str, name: &str) -> Result<FeedForward, String> {
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, function)| *function).ok_or_else(|| {
        let names = ACTIVATIONS.map(|(name, _)| name).join(", ");
        format!("{key} is {name:?}, and Lal has {names}")
    })
}

/// The name of such a function.
pub fn activation_name(function: FeedForward) -> Option<&'static str> {
    ACTIVATIONS.iter().find(|(_, known)| *known == function).map(|(name, _)| *name)
}
