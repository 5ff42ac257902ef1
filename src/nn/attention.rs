//! Multi-head self-attention (Vaswani et al. 2017), its keys shared by groups of heads (Ainslie et al. 2023) or not.

use serde::{Deserialize, Serialize};

use super::Pass;
use super::linear::Linear;
use super::lora::{Lora, Site};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, RopeScaling, Rotary, State, Tape};
use crate::nn::norm::{Norm, Norms};
use crate::ops::attention::Attention;
use crate::ops::attention_cached::AttentionCached;
use crate::ops::causal_conv::CausalConv;
use crate::ops::causal_conv_cached::CausalConvCached;
use crate::ops::columns::{ConcatColumns, SplitColumns};
use crate::ops::reshape::Reshape;
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

/// Which numbers an RMS norm of queries and of keys takes together, each with a weight of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QkNorm {
    /// Each head by itself, all by the same weight (Qwen 3, Gemma 3).
    Head,
    /// All heads of a token (OLMo 2).
    Token,
}

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    pub n_head: usize,
    /// Heads of keys and values; n_head / n_kv_head heads of queries share one.
    pub n_kv_head: usize,
    /// Channels of a head.
    pub head_size: usize,
    /// Tokens that a token sees, itself the last; 0 for all before it.
    pub window: usize,
    /// What q·k is multiplied by; `None` for 1/√head_size.
    pub scale: Option<f32>,
    pub qk_norm: Option<QkNorm>,
    /// Epsilon of norms of queries and keys.
    pub norm_eps: f32,
    /// Whether queries, keys and values have a bias, and the output.
    pub biases: [bool; 2],
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
    pub lora: Lora,
    pub dropout: f32,
    /// Standard deviation of the output projection's first weights.
    pub out_std: f32,
}

/// Standard deviation of the first weights of the convolution: some channels begin with more of the tokens before.
const CONV_STD: f32 = 0.5;

/// The angles by which heads are turned at positions below `block_size`: one table for all layers that turn alike.
pub fn rotary_table(tape: &mut Tape, block_size: usize, rotary: Rotary) -> Var {
    let Rotary { base, width, scaling } = rotary;
    let mut name = format!("rotary.{block_size}.{width}.{base}");
    if scaling != RopeScaling::None {
        name += &format!(".{scaling:?}");
    }
    tape.state(&name, [block_size, width], Init::Rotary(rotary), State::Transient)
}

impl SelfAttention {
    /// x (batch, time, n) → (batch, time, n) through `c_attn`, perhaps `c_conv`, and `c_proj`.
    pub fn record(&self, tape: &mut Tape, x: Var, pass: Pass) -> Result<Var, OpError> {
        let n = tape.spec(x).shape.width();
        let (n_head, n_kv_head, alibi) = (self.n_head, self.n_kv_head, self.positions == Positions::Alibi);
        let [width, own, shared] = [1, n_head, n_kv_head].map(|heads| heads * self.head_size);
        let [into, out] = self.biases.map(|bias| Linear { bias, ..self.linear });
        let parts = [(Site::Query, own), (Site::Key, shared), (Site::Value, shared)];
        let mut qkv = tape.scoped("c_attn", |t| {
            let qkv = into.record(t, x, own + 2 * shared)?;
            let qkv = self.lora.add(t, Site::Qkv, x, qkv)?;
            self.lora.add_parts(t, parts, x, qkv)
        })?;
        if self.conv_kernel > 0 {
            qkv = tape.scoped("c_conv", |t| self.convolve(t, qkv, pass))?;
        }
        if let Some(by) = self.qk_norm {
            qkv = self.normalize(tape, qkv, by)?;
        }
        if let Positions::Rotary(table) = self.positions {
            let rope = Rope { n_rotated: n_head + n_kv_head, width, inverse: false };
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
                let Self { window, scale, .. } = *self;
                let attention = AttentionCached { n_head, n_kv_head, alibi, window, scale };
                tape.apply(attention, &[qkv, cache[0], cache[1]])?[0]
            }
            Pass::Train | Pass::Evaluate => {
                let dropout = if pass == Pass::Train { self.dropout } else { 0.0 };
                let attention = Attention {
                    n_head,
                    n_kv_head,
                    causal: self.causal,
                    window: self.window,
                    scale: self.scale,
                    alibi,
                    dropout,
                    salt: tape.salt(),
                };
                let operands: Vec<_> = [qkv].into_iter().chain(self.segments).collect();
                tape.apply(attention, &operands)?[0]
            }
        };
        tape.scoped("c_proj", |t| {
            let y = out.with_std(self.out_std).record(t, mixed, n)?;
            self.lora.add(t, Site::Mixed, mixed, y)
        })
    }

    /// qkv with its queries and its keys normalised, by `q_norm.weight` and `k_norm.weight`.
    fn normalize(&self, tape: &mut Tape, qkv: Var, by: QkNorm) -> Result<Var, OpError> {
        let (shape, norms) = (tape.shape(qkv), Norms { kind: Norm::Rms, bias: false, eps: self.norm_eps });
        let widths = [self.n_head, self.n_kv_head, self.n_kv_head].map(|heads| heads * self.head_size);
        let parts = tape.apply(SplitColumns { widths: widths.into() }, &[qkv])?;
        let mut norm = |scope: &str, part: Var, width: usize| -> Result<Var, OpError> {
            let together = if by == QkNorm::Head { self.head_size } else { width };
            let rows = [shape.rows() * width / together, together].into();
            let part = tape.apply_one(Reshape(rows), &[part])?;
            let part = tape.scoped(scope, |t| norms.record(t, part))?;
            tape.apply_one(Reshape(shape.with_width(width)), &[part])
        };
        let (q, k) = (norm("q_norm", parts[0], widths[0])?, norm("k_norm", parts[1], widths[1])?);
        tape.apply_one(ConcatColumns, &[q, k, parts[2]])
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
