//! Looking into a model: where its heads attend, what it expects next, and pictures of measurements.

pub mod attention;
pub mod curves;
pub mod logits;
pub mod masked;
mod svg;
