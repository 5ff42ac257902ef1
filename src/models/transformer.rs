//! The Transformer (Vaswani et al. 2017), its parts chosen by the configuration: GPT-2, Llama, BERT and between.

use super::config::{ModelConfig, NormPlace, Position};
use super::{Backbone, ModelInputs};
use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, State, Tape};
use crate::nn::Pass;
use crate::nn::attention::{Positions, SelfAttention, rotary_table};
use crate::nn::embedding::{embed, embed_at, table};
use crate::nn::linear::Linear;
use crate::nn::mlp::{dropout, feed_forward};
use crate::nn::norm::Norms;

/// Base of the angles of rotary embeddings.
const ROPE_BASE: f32 = 1e4;

/// Fixed positions are as large as the tokens' vectors begin, as in the first Transformer, which made these larger:
/// else the norms would leave next to nothing of the tokens.
const SINUSOIDS_RMS: f32 = 0.02;

/// Records everything below the head: tokens (batch, time) → hidden (batch, time, n_embd).
///
/// Parameters have the names that Hugging Face gives GPT-2's.
pub fn backbone(
    tape: &mut Tape,
    config: &ModelConfig,
    read: ModelInputs,
    pass: Pass,
) -> Result<Backbone, OpError> {
    let backbone = tape.scoped("transformer", |tape| {
        let n = config.n_embd;
        let p = config.dropout as f32;
        let out_std = 0.02 / (2.0 * config.n_layer as f32).sqrt();
        let linear = Linear { bias: config.bias, std: 0.02, lora_rank: config.lora_rank };
        let norms = Norms { kind: config.norm, bias: config.bias, eps: config.norm_eps as f32 };
        let attention = SelfAttention {
            n_head: config.n_head,
            n_kv_head: config.n_kv_head,
            block_size: config.block_size,
            causal: config.causal,
            dropout: p,
            positions: match config.position {
                Position::Rope => {
                    Positions::Rotary(rotary_table(tape, config.block_size, config.head_size(), ROPE_BASE))
                }
                Position::Alibi => Positions::Alibi,
                _ => Positions::Embedded,
            },
            conv_kernel: config.conv_kernel,
            linear,
            out_std,
            segments: read.segments.map(|segments| segments.numbers),
        };

        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, n));
        let positions = positions(tape, config);
        let embedded = match (read.segments, positions) {
            (Some(segments), Some(table)) => embed_at(tape, read.tokens, wte, segments.positions, table)?,
            _ => embed(tape, read.tokens, wte, positions)?,
        };
        let mut x = dropout(tape, embedded, p, pass)?;
        // What the next half of a block reads: the stream itself, or its norm.
        let mut input = x;
        let pre = config.norm_place == NormPlace::Pre;
        if pre {
            input = tape.scoped("h.0.ln_1", |t| norms.record(t, x))?;
        }
        for layer in 0..config.n_layer {
            let block = format!("h.{layer}");
            let after_mlp = match layer + 1 {
                _ if !pre => format!("{block}.ln_2"),
                last if last == config.n_layer => "ln_f".into(),
                next => format!("h.{next}.ln_1"),
            };
            let after_attention = format!("{block}.{}", if pre { "ln_2" } else { "ln_1" });

            let branch = tape.scoped(&format!("{block}.attn"), |t| attention.record(t, input, pass))?;
            let branch = dropout(tape, branch, p, pass)?;
            (x, input) = tape.scoped(&after_attention, |t| norms.residual(t, x, branch, pre))?;

            let branch = tape.scoped(&format!("{block}.mlp"), |t| {
                feed_forward(t, input, config.feed_forward, config.n_inner, linear, out_std)
            })?;
            let branch = dropout(tape, branch, p, pass)?;
            (x, input) = tape.scoped(&after_mlp, |t| norms.residual(t, x, branch, pre))?;
        }
        Ok(Backbone { hidden: input, head: Some(wte), carried: Vec::new() })
    })?;
    if config.tied {
        return Ok(backbone);
    }
    let head = tape.scoped("lm_head", |t| table(t, config.vocab_size, config.n_embd));
    Ok(Backbone { head: Some(head), ..backbone })
}

/// The table that is added to the tokens' vectors, if any, (block_size, n_embd).
fn positions(tape: &mut Tape, config: &ModelConfig) -> Option<Var> {
    let shape = [config.block_size, config.n_embd];
    match config.position {
        Position::Learned => Some(tape.scoped("wpe", |t| table(t, shape[0], shape[1]))),
        Position::Sinusoidal => {
            let name = tape.scoped_name("sinusoids");
            let amplitude = SINUSOIDS_RMS * std::f32::consts::SQRT_2;
            let init = Init::Sinusoidal { amplitude, width: config.n_embd };
            Some(tape.state(&name, shape, init, State::Transient))
        }
        Position::None | Position::Rope | Position::Alibi => None,
    }
}
