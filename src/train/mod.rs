//! Training: the plans of a run and the loop that drives them.

pub mod plans;
