//! Language models, each recorded on a tape from the layers of [`nn`](crate::nn).

pub mod config;
pub mod gpt;
