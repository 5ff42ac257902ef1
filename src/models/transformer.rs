//! The Transformer (Vaswani et al. 2017), its parts chosen by the configuration: GPT-2, Llama, BERT and between.

use super::config::{ModelConfig, NormPlace, Position};
use super::{Backbone, ModelInputs};
use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, RopeScaling, Rotary, State, Tape};
use crate::nn::Pass;
use crate::nn::attention::{Positions, SelfAttention, rotary_table};
use crate::nn::embedding::{embed, embed_at, table};
use crate::nn::linear::Linear;
use crate::nn::lora::Lora;
use crate::nn::mlp::{dropout, feed_forward};
use crate::nn::norm::Norms;
use crate::ops::combine::Combine;

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
        let details = &config.details;
        let linear = Linear { bias: config.bias, std: 0.02 };
        let lora = config.lora.during(pass);
        let feed = Linear { bias: details.mlp_bias.unwrap_or(config.bias), ..linear };
        let norms = Norms { kind: config.norm, bias: config.bias, eps: config.norm_eps as f32 };
        let segments = read.segments.map(|segments| segments.numbers);
        let attention = attention(tape, config, (linear, lora), segments);
        let wte = tape.scoped("wte", |t| table(t, config.vocab_size, n));
        let positions = positions(tape, config);
        let embedded = match (read.segments, positions) {
            (Some(segments), Some(table)) => embed_at(tape, read.tokens, wte, segments.positions, table)?,
            _ => embed(tape, read.tokens, wte, positions)?,
        };
        let embedded = match details.embedding_scale {
            Some(scale) => tape.apply_one(Combine::scale(scale as f32), &[embedded])?,
            None => embedded,
        };
        let embedded = match details.embedding_norm {
            true => tape.scoped("ln_e", |t| norms.record(t, embedded))?,
            false => embedded,
        };
        let mut x = dropout(tape, embedded, p, pass)?;
        // What the next half of a block reads: the stream itself, or its norm.
        let mut input = x;
        let place = config.norm_place;
        if place.is_before() {
            input = tape.scoped("h.0.ln_1", |t| norms.record(t, x))?;
        }
        for (layer, attention) in attention.iter().enumerate() {
            let block = format!("h.{layer}");
            let is_last = layer + 1 == config.n_layer;
            // The norms of the stream after each half; none if what is added was normalised.
            let [after_attention, after_mlp] = match place {
                NormPlace::Post => [Some(format!("{block}.ln_1")), Some(format!("{block}.ln_2"))],
                NormPlace::Branch => [None, is_last.then(|| "ln_f".to_owned())],
                _ if is_last => [Some(format!("{block}.ln_2")), Some("ln_f".to_owned())],
                _ => [Some(format!("{block}.ln_2")), Some(format!("h.{}.ln_1", layer + 1))],
            };
            let of_branch = |tape: &mut Tape, name: &str, branch: Var| match place.is_of_branch() {
                true => tape.scoped(&format!("{block}.{name}"), |t| norms.record(t, branch)),
                false => Ok(branch),
            };
            let residual = |tape: &mut Tape, norm: &Option<String>, x: Var, branch: Var| match norm {
                Some(norm) => tape.scoped(norm, |t| norms.residual(t, x, branch, place != NormPlace::Post)),
                None => Norms::sum(tape, x, branch),
            };

            let read = input;
            let branch = tape.scoped(&format!("{block}.attn"), |t| attention.record(t, read, pass))?;
            let branch = dropout(tape, branch, p, pass)?;
            let branch = of_branch(tape, "ln_1_branch", branch)?;
            if details.parallel {
                // Both halves read the stream as it is before the block, each by its own norm.
                input = tape.scoped(&format!("{block}.ln_2"), |t| norms.record(t, x))?;
                x = tape.apply_one(Combine::SUM, &[x, branch])?;
            } else {
                (x, input) = residual(tape, &after_attention, x, branch)?;
            }

            let branch = tape.scoped(&format!("{block}.mlp"), |t| {
                feed_forward(t, input, config.feed_forward, config.n_inner, (feed, lora), out_std(config))
            })?;
            let branch = dropout(tape, branch, p, pass)?;
            let branch = of_branch(tape, "ln_2_branch", branch)?;
            (x, input) = residual(tape, &after_mlp, x, branch)?;
        }
        Ok(Backbone { hidden: input, head: Some(wte), carried: Vec::new() })
    })?;
    if config.tied {
        return Ok(backbone);
    }
    let head = tape.scoped("lm_head", |t| table(t, config.vocab_size, config.n_embd));
    Ok(Backbone { head: Some(head), ..backbone })
}

/// Standard deviation of the first weights of what is added to the stream, as in GPT-2.
fn out_std(config: &ModelConfig) -> f32 {
    0.02 / (2.0 * config.n_layer as f32).sqrt()
}

/// The angles of a layer's rotary embeddings, if it has some.
fn rotary(config: &ModelConfig, layer: usize) -> Option<Rotary> {
    let details = &config.details;
    if config.position != Position::Rope || details.no_rope.contains(&layer) {
        return None;
    }
    let width = if details.rope_width > 0 { details.rope_width } else { config.head_size() };
    Some(match details.rope_local_base.filter(|_| details.window_of(layer) > 0) {
        Some(base) => Rotary { base: base as f32, width, scaling: RopeScaling::None },
        None => Rotary { base: details.rope_base as f32, width, scaling: details.rope_scaling },
    })
}

/// Those of all layers, each once.
pub fn rotary_tables(config: &ModelConfig) -> Vec<Rotary> {
    let mut tables = Vec::new();
    for rotary in (0..config.n_layer).filter_map(|layer| rotary(config, layer)) {
        if !tables.contains(&rotary) {
            tables.push(rotary);
        }
    }
    tables
}

/// The attention of each layer.
fn attention(
    tape: &mut Tape,
    config: &ModelConfig,
    (linear, lora): (Linear, Lora),
    segments: Option<Var>,
) -> Vec<SelfAttention> {
    let details = &config.details;
    let table = |rotary| (rotary, rotary_table(tape, config.block_size, rotary));
    let tables: Vec<_> = rotary_tables(config).into_iter().map(table).collect();
    let of_layer = |layer: usize| {
        let rotary = rotary(config, layer);
        let positions = match tables.iter().find(|(known, _)| Some(*known) == rotary) {
            Some(&(_, table)) => Positions::Rotary(table),
            None if config.position == Position::Alibi => Positions::Alibi,
            None => Positions::Embedded,
        };
        SelfAttention {
            n_head: config.n_head,
            n_kv_head: config.n_kv_head,
            head_size: config.head_size(),
            window: details.window_of(layer),
            scale: details.attention_scale.map(|scale| scale as f32),
            qk_norm: details.qk_norm,
            norm_eps: config.norm_eps as f32,
            biases: [details.qkv_bias, details.attention_out_bias].map(|bias| bias.unwrap_or(config.bias)),
            causal: config.causal,
            positions,
            conv_kernel: config.conv_kernel,
            segments,
            block_size: config.block_size,
            linear,
            lora,
            dropout: config.dropout as f32,
            out_std: out_std(config),
        }
    };
    (0..config.n_layer).map(of_layer).collect()
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
