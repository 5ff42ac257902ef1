//! Multi-head self-attention (Vaswani et al. 2017), its heads of keys perhaps shared.

use super::Pass;
use super::linear::Linear;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Tape};
use crate::ops::attention::Attention;
use crate::ops::attention_cached::AttentionCached;

/// One attention layer.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    pub n_head: usize,
    pub n_kv_head: usize,
    /// Tokens that the key-value cache holds when decoding.
    pub block_size: usize,
    pub causal: bool,
    pub dropout: f32,
    /// Whether queries and keys are turned by their position.
    pub rope: bool,
    /// Whether scores are lowered by distance.
    pub alibi: bool,
    pub linear: Linear,
    /// Standard deviation of the output projection's first weights.
    pub out_std: f32,
    /// (batch, time): a token sees only those of its own segment.
    pub segments: Option<Var>,
}

impl SelfAttention {
    /// x (batch, time, n) → (batch, time, n) through `c_attn` and `c_proj`.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn record(&self, tape: &mut Tape, x: Var, pass: Pass) -> Result<Var, OpError> {
        let &Self { n_head, n_kv_head, block_size, causal, alibi, .. } = self;
        let n = tape.spec(x).shape.width();
        let width = n / n_head;
        let n_kv = n_kv_head * width;
        let qkv = tape.scoped("c_attn", |t| self.linear.record(t, x, n + 2 * n_kv))?;
        if self.rope {
            todo!()
        }
        let mixed = match pass {
            Pass::Decode => {
                let cache = ["keys", "values"].map(|name| {
                    let name = tape.scoped_name(name);
                    tape.state(&name, [block_size, n_kv], Init::Constant(0.0))
                });
                tape.apply(AttentionCached { n_head, n_kv_head, alibi }, &[qkv, cache[0], cache[1]])?[0]
            }
            Pass::Train | Pass::Evaluate => {
                let dropout = if pass == Pass::Train { self.dropout } else { 0.0 };
                let salt = tape.salt();
                let mut operands = vec![qkv];
                operands.extend(self.segments);
                tape.apply(Attention { n_head, n_kv_head, causal, alibi, dropout, salt }, &operands)?[0]
            }
        };
        tape.scoped("c_proj", |t| self.linear.with_std(self.out_std).record(t, mixed, n))
    }
}
