//! Optimisers: what turns gradients on a tape into updates of parameters.

pub mod adamw;
pub mod schedule;
