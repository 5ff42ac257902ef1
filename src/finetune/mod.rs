//! After pretraining: a model that continues text becomes one that answers.
//!
//! [`base`] is the model to begin with, and puts its weights into the one to be trained. [`sft`] gives it
//! conversations, the [`lessons`], to learn from, and [`answers`] counts how many questions it then answers to the letter.

pub mod answers;
pub mod base;
pub mod lessons;
pub mod sft;
