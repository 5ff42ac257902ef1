//! Published models that several tests read.

/// The folders of `golden/families` whose models decode: tiny ones of each family, and of its variants.
pub const FAMILIES: [&str; 13] = [
    "llama",
    "llama_scaled",
    "llama_linear",
    "mistral",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm3",
    "gemma3",
    "olmo2",
    "phi3",
    "gpt_neox",
    "gpt_neox_serial",
];
