//! After pretraining: a model that continues text becomes one that answers.
//!
//! [`base`] is the model to begin with, and puts its weights into the one to be trained. [`sft`] gives it
//! conversations to learn from, those of the [`lessons`], and [`answers`] counts how many questions it then answers
//! to the letter. A [`constitution`] says what answers should be. A [`stage`] is what a run of fine-tuning writes down to be continued.

pub mod answers;
pub mod base;
pub mod constitution;
pub mod lessons;
pub mod sft;
pub mod stage;
