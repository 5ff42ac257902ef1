//! Looking into a trained model: where its heads attend, and what it expects next.

pub mod attention;
pub mod logits;
mod svg;
