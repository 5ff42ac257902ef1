//! What models are trained for.

pub mod tokens;
