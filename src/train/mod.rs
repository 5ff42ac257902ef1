//! Training: the plans of a run, the model in training, the run around it, and the exact loss of what comes of it.

pub mod ablation;
mod curves;
pub mod estimate;
pub mod evaluate;
pub mod event;
pub mod neighbours;
pub mod on_text;
pub mod plans;
pub mod pretraining;
pub mod recall;
pub mod session;
pub mod source;
pub mod trainer;
