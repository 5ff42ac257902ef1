//! Training: the plans of a run, the model in training, and the run around it.

pub mod ablation;
pub mod plans;
pub mod recall;
pub mod session;
pub mod source;
pub mod trainer;
