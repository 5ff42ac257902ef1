//! Looking into a model: attention maps, next-token probabilities, distances between embeddings, and pictures of
//! measurements.

pub mod activations;
pub mod attention;
pub mod curves;
pub mod embeddings;
pub mod forward;
pub mod logits;
pub mod masked;
pub mod projection;
pub mod svg;
