//! Skip-gram: a vector for each token, and one for each token as a neighbour (Mikolov et al. 2013). Trained on which
//! tokens are near which, tokens of similar use get similar vectors.

use super::Backbone;
use super::config::ModelConfig;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::nn::embedding::{embed, table};

/// What a token is paired with in training: a neighbour, and five negative samples.
pub const CANDIDATES: usize = 6;

/// tokens (batch, time) → hidden (batch, time, n_embd), each token's own vector; as a head the vectors of neighbours,
/// so that a logit says how likely a token stands near.
pub fn backbone(tape: &mut Tape, config: &ModelConfig, tokens: Var) -> Result<Backbone, OpError> {
    tape.scoped("skipgram", |tape| {
        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, config.n_embd));
        let neighbours = tape.scoped("lm_head", |t| table(t, config.vocab_size, config.n_embd));
        Ok(Backbone { hidden: embed(tape, tokens, wte, None)?, head: Some(neighbours), carried: Vec::new() })
    })
}
