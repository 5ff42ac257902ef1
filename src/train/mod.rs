//! Training: the plans of a run, the model in training, and the run around it.

pub mod neighbours;
pub mod on_text;
pub mod plans;
pub mod session;
pub mod source;
pub mod trainer;
