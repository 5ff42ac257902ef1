//! Looking into a trained model: where its heads attend, what it expects next, and how its tokens lie to each other.

pub mod attention;
pub mod curves;
pub mod embeddings;
pub mod forward;
pub mod logits;
pub mod projection;
mod svg;
