//! What models are trained for.

pub mod next_token;
