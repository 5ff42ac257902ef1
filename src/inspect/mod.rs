//! Looking into a model: where its heads attend, what it expects next, how its tokens lie to each other, and pictures of
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
