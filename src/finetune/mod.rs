//! Fine-tuning: a model that continues text learns to answer, then to answer well.
//!
//! A [`stage`] is one way to fine-tune: its options, its data, its batches, and how its model is evaluated. [`stages`]
//! has one file for each, and [`stages::Method`] lists them. A stage runs in memory by [`run()`], several by a
//! [`pipeline`], and in a run folder as a [`job`] with a [`config`].
//!
//! [`base`] is the model that a stage begins with. Its data are an [`sft_dataset`], a [`preference_dataset`] or
//! [`questions`] about tales. Its batches are from conversations ([`sft_source`]), pairs of answers ([`pair_source`])
//! or the model's own replies ([`policy_source`]), which a [`rollout`] worker samples and which are learned by their
//! [`advantages`]. [`lora`] has the settings of low-rank adapters. A [`scorer`] is a model that is not trained: a
//! reference or a reward model. A [`constitution`] has principles for replies, by which a [`critique`] makes training
//! data of them. A [`report`] says how good a model is.

pub mod advantages;
pub mod answers;
pub mod base;
pub mod calibration;
pub mod config;
pub mod constitution;
pub mod critique;
pub mod examples;
pub mod job;
pub mod lora;
pub mod pair_source;
pub mod pipeline;
pub mod policy_source;
pub mod ppo_options;
pub mod preference_dataset;
pub mod questions;
pub mod report;
pub mod rollout;
mod run;
pub mod scorer;
pub mod sft_dataset;
pub mod sft_source;
pub mod stage;
pub mod stages;

pub use run::{Trained, run};
