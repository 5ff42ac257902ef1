//! Sampling: from the scores a model gives to the token that comes next.

pub mod strategy;
