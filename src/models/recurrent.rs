//! Recurrent language models: RNN, GRU or LSTM layers over the tokens of a window, trained by truncated
//! backpropagation through time.

use super::Backbone;
use super::config::{Architecture, ModelConfig};
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::nn::Pass;
use crate::nn::embedding::{embed, table};
use crate::nn::mlp::dropout;
use crate::nn::recurrent::{Cell, Recurrent, carry};

/// tokens (time, batch) → hidden (time · batch, n_embd), which is also each layer's state.
pub fn backbone(tape: &mut Tape, config: &ModelConfig, tokens: Var, pass: Pass) -> Result<Backbone, OpError> {
    tape.scoped("recurrent", |tape| {
        let layer = Recurrent {
            cell: match config.architecture {
                Architecture::Gru => Cell::Gru,
                Architecture::Lstm => Cell::Lstm,
                _ => Cell::Rnn,
            },
            n_hidden: config.n_embd,
            batch_size: tape.shape(tokens).width(),
        };
        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, config.n_embd));
        let mut x = embed(tape, tokens, wte, None)?;
        let mut carried = Vec::new();
        for i in 0..config.n_layer {
            let below = dropout(tape, x, config.dropout as f32, pass)?;
            let unrolled = tape.scoped(&format!("h.{i}"), |t| layer.record(t, below, pass))?;
            x = unrolled.hidden;
            carried.extend(unrolled.carried);
        }
        if pass == Pass::Decode {
            carry(tape, &std::mem::take(&mut carried))?;
        }
        Ok(Backbone { hidden: dropout(tape, x, config.dropout as f32, pass)?, head: Some(wte), carried })
    })
}
