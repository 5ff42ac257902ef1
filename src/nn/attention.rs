//! Causal multi-head self-attention (Vaswani et al. 2017).

use super::Pass;
use super::linear::linear;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Tape};
use crate::ops::attention::Attention;
use crate::ops::attention_cached::AttentionCached;

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    pub n_head: usize,
    /// Tokens that the key-value cache holds when decoding.
    pub block_size: usize,
    pub bias: bool,
    pub dropout: f32,
    /// Standard deviation of the output projection's first weights.
    pub out_std: f32,
}

impl SelfAttention {
    /// x (batch, time, n) → (batch, time, n) through `c_attn` and `c_proj`.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn record(&self, tape: &mut Tape, x: Var, pass: Pass) -> Result<Var, OpError> {
        let n = tape.spec(x).shape.width();
        let qkv = tape.scoped("c_attn", |t| linear(t, x, 3 * n, self.bias, 0.02))?;
        let mixed = match pass {
            Pass::Decode => {
                let cache = ["keys", "values"].map(|name| {
                    let name = tape.scoped_name(name);
                    tape.state(&name, [self.block_size, n], Init::Constant(0.0))
                });
                tape.apply(
                    AttentionCached { n_head: self.n_head, n_kv_head: self.n_head, alibi: false },
                    &[qkv, cache[0], cache[1]],
                )?[0]
            }
            Pass::Train | Pass::Evaluate => {
                let dropout = if pass == Pass::Train { self.dropout } else { 0.0 };
                let salt = tape.salt();
                tape.apply(Attention { dropout, salt, ..Attention::new(self.n_head, true) }, &[qkv])?[0]
            }
        };
        tape.scoped("c_proj", |t| linear(t, mixed, n, self.bias, self.out_std))
    }
}
