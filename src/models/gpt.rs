//! GPT-2 (Radford et al. 2019) as nanoGPT sizes it: learned positions, pre-norm blocks, a tied head.

use super::config::{Gelu, GptConfig};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::nn::Pass;
use crate::nn::attention::{Positions, SelfAttention};
use crate::nn::embedding::{embed, table};
use crate::nn::mlp::{dropout, mlp};
use crate::nn::norm::{layer_norm, residual_norm};
use crate::ops::gelu::Form;
use crate::ops::matmul::Matmul;
use crate::ops::rows::TakeRows;

/// What the trunk of a GPT leaves on the tape.
pub struct Trunk {
    /// The last norm's output, (batch, time, n_embd).
    pub hidden: Var,
    /// The token embedding, (vocab_size, n_embd), which is also the head's weight.
    pub table: Var,
}

/// Records everything below the head: tokens (batch, time) → hidden.
///
/// Parameters have the names that Hugging Face gives GPT-2's.
///
/// # Errors
/// When the tokens have more positions than the model.
pub fn trunk(tape: &mut Tape, config: &GptConfig, tokens: Var, pass: Pass) -> Result<Trunk, OpError> {
    tape.scoped("transformer", |tape| {
        let n = config.n_embd;
        let p = config.dropout as f32;
        let out_std = 0.02 / (2.0 * config.n_layer as f32).sqrt();
        let form = if config.gelu == Gelu::Tanh { Form::Tanh } else { Form::Exact };
        let attention = SelfAttention {
            n_head: config.n_head,
            n_kv_head: config.n_head,
            causal: true,
            positions: Positions::Embedded,
            segments: None,
            block_size: config.block_size,
            bias: config.bias,
            dropout: p,
            out_std,
        };

        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, n));
        let wpe = tape.scoped("wpe", |t| table(t, config.block_size, n));
        let embedded = embed(tape, tokens, wte, wpe)?;
        let mut x = dropout(tape, embedded, p, pass)?;
        let mut normed = tape.scoped("h.0.ln_1", |t| layer_norm(t, x, config.bias))?;
        for layer in 0..config.n_layer {
            let block = format!("h.{layer}");
            let branch = tape.scoped(&format!("{block}.attn"), |t| attention.record(t, normed, pass))?;
            let branch = dropout(tape, branch, p, pass)?;
            (x, normed) =
                tape.scoped(&format!("{block}.ln_2"), |t| residual_norm(t, x, branch, config.bias))?;
            let branch =
                tape.scoped(&format!("{block}.mlp"), |t| mlp(t, normed, form, config.bias, out_std))?;
            let branch = dropout(tape, branch, p, pass)?;
            let next = match layer + 1 {
                last if last == config.n_layer => "ln_f".into(),
                next => format!("h.{next}.ln_1"),
            };
            (x, normed) = tape.scoped(&next, |t| residual_norm(t, x, branch, config.bias))?;
        }
        Ok(Trunk { hidden: normed, table: wte })
    })
}

/// Logits of the last token alone: (1, time, n_embd) → (1, vocab_size).
///
/// # Errors
/// When the operands do not fit.
pub fn last_logits(tape: &mut Tape, trunk: &Trunk) -> Result<Var, OpError> {
    let time = tape.spec(trunk.hidden).shape.rows();
    let last = tape.apply_one(TakeRows { first: time - 1, rows: 1 }, &[trunk.hidden])?;
    tape.apply_one(Matmul::LINEAR, &[last, trunk.table])
}
