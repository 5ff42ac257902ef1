//! Multi-head self-attention (Vaswani et al. 2017), its keys shared by groups of heads (Ainslie et al. 2023) or not.

use super::Pass;
use super::linear::Linear;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, State, Tape};
use crate::ops::attention::Attention;
use crate::ops::attention_cached::AttentionCached;
use crate::ops::causal_conv::CausalConv;
use crate::ops::causal_conv_cached::CausalConvCached;
use crate::ops::rope::Rope;

/// How attention itself tells positions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// It does not: what it attends to may know its place from the embedding.
    Embedded,
    /// Scores sink with distance (Press et al. 2022).
    Alibi,
    /// Queries and keys are turned by the angles of this table, one of [`rotary_table`] (Su et al. 2021).
    Rotary(Var),
}

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    pub n_head: usize,
    /// Heads of keys and values; n_head / n_kv_head heads of queries share one.
    pub n_kv_head: usize,
    /// A token sees none after it. Only such layers can decode.
    pub causal: bool,
    pub positions: Positions,
    /// Taps of the convolution over queries, keys and values; 0 for none.
    pub conv_kernel: usize,
    /// (batch, time) numbers that tell apart the sequences packed into a row; not used when decoding.
    pub segments: Option<Var>,
    /// Tokens that the key-value cache holds when decoding.
    pub block_size: usize,
    pub linear: Linear,
    pub dropout: f32,
    /// Standard deviation of the output projection's first weights.
    pub out_std: f32,
}

/// Standard deviation of the first weights of the convolution: some channels begin with more of the tokens before.
const CONV_STD: f32 = 0.5;

/// The angles by which heads of `width` channels are turned at positions below `block_size`: one table for all
/// layers.
pub fn rotary_table(tape: &mut Tape, block_size: usize, width: usize, base: f32) -> Var {
    let name = format!("rotary.{block_size}.{width}.{base}");
    tape.state(&name, [block_size, width], Init::Rotary { base, width }, State::Transient)
}

impl SelfAttention {
    /// x (batch, time, n) → (batch, time, n) through `c_attn`, perhaps `c_conv`, and `c_proj`.
    pub fn record(&self, tape: &mut Tape, x: Var, pass: Pass) -> Result<Var, OpError> {
        let n = tape.spec(x).shape.width();
        let (n_head, n_kv_head, alibi) = (self.n_head, self.n_kv_head, self.positions == Positions::Alibi);
        let shared = n / n_head * n_kv_head;
        let mut qkv = tape.scoped("c_attn", |t| self.linear.record(t, x, n + 2 * shared))?;
        if self.conv_kernel > 0 {
            qkv = tape.scoped("c_conv", |t| self.convolve(t, qkv, pass))?;
        }
        if let Positions::Rotary(table) = self.positions {
            let rope = Rope { n_rotated: n_head + n_kv_head, inverse: false };
            qkv = tape.apply_one(rope, &[qkv, table])?;
        }
        let mixed = match pass {
            Pass::Decode if !self.causal => {
                return Err(OpError::new("attention to later tokens cannot decode one by one"));
            }
            Pass::Decode => {
                let batch = tape.spec(x).shape.dims()[0];
                // Plans share tensors by name: those that decode as many streams side by side share a cache.
                let cache = ["keys", "values"].map(|name| {
                    let name = tape.scoped_name(&format!("{name}.{batch}"));
                    tape.state(&name, [batch, self.block_size, shared], Init::Constant(0.0), State::Transient)
                });
                tape.apply(AttentionCached { n_head, n_kv_head, alibi }, &[qkv, cache[0], cache[1]])?[0]
            }
            Pass::Train | Pass::Evaluate => {
                let dropout = if pass == Pass::Train { self.dropout } else { 0.0 };
                let attention =
                    Attention { n_head, n_kv_head, causal: self.causal, alibi, dropout, salt: tape.salt() };
                let operands: Vec<_> = [qkv].into_iter().chain(self.segments).collect();
                tape.apply(attention, &operands)?[0]
            }
        };
        tape.scoped("c_proj", |t| self.linear.with_std(self.out_std).record(t, mixed, n))
    }

    /// qkv, as it is and from the tokens before. Its `weight` (conv_kernel, width of qkv) starts normal.
    fn convolve(&self, tape: &mut Tape, qkv: Var, pass: Pass) -> Result<Var, OpError> {
        let (batch, width) = (tape.spec(qkv).shape.dims()[0], tape.spec(qkv).shape.width());
        let weight =
            tape.parameter("weight", [self.conv_kernel, width], Init::Normal(CONV_STD), Parameter::Outer);
        if pass == Pass::Decode {
            let name = tape.scoped_name(&format!("tail.{batch}"));
            let shape = [batch, self.conv_kernel - 1, width];
            let tail = tape.state(&name, shape, Init::Constant(0.0), State::Transient);
            return Ok(tape.apply(CausalConvCached, &[qkv, weight, tail])?[0]);
        }
        let operands: Vec<_> = [qkv, weight].into_iter().chain(self.segments).collect();
        tape.apply_one(CausalConv { transposed: false }, &operands)
    }
}
