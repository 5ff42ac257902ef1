//! What models are trained for.

pub mod neighbours;
pub mod tokens;
