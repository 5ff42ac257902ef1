//! The bigram model: a table of logits, a row for each last token.

use super::Backbone;
use super::config::ModelConfig;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::embedding::Embedding;

/// tokens (batch, time) → logits (batch, time, vocab_size). Trained to the end, a row's softmax is the share
/// of each token among those that follow: what counting gives.
pub fn backbone(tape: &mut Tape, config: &ModelConfig, tokens: Var) -> Result<Backbone, OpError> {
    tape.scoped("bigram", |tape| {
        let table = tape.parameter("weight", [config.vocab_size; 2], Init::Constant(0.0), Parameter::Outer);
        Ok(Backbone { hidden: tape.apply_one(Embedding, &[tokens, table])?, head: None, carried: Vec::new() })
    })
}
