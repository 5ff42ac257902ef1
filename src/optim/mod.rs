//! Optimisers: what turns gradients on a tape into updates of parameters.

pub mod adamw;
mod clip;
pub mod muon;
pub mod schedule;
pub mod sgd;
