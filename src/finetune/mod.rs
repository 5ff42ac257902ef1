//! After pretraining: a model that continues text becomes one that answers, and answers as it should.
//!
//! [`base`] is the model to begin with, and puts its weights into the one to be trained. What there is to learn are
//! the conversations of [`lessons`] or the pairs of [`comparisons`], and each stage is a source of batches from them:
//! [`sft`] of conversations, [`pairs`] of comparisons for reward models and preferences, [`policy`] of the model's own
//! replies, which a [`rollout`] makes and whose [`advantages`] it learns by. A [`reader`] is a model beside the one in
//! training. A [`constitution`] says what answers should be, and [`critique`] makes lessons of it. A [`course`] goes
//! through all stages in memory. A [`stage`] is what a run writes down to be continued.

pub mod advantages;
pub mod answers;
pub mod base;
pub mod calibration;
pub mod comparisons;
pub mod constitution;
pub mod course;
pub mod critique;
pub mod epochs;
pub mod lessons;
pub mod pairs;
pub mod policy;
pub mod policy_options;
pub mod reader;
pub mod recipes;
pub mod rollout;
pub mod sft;
pub mod stage;
