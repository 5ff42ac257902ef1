//! Where each head of each layer looks: `p_ts = softmax_s(q_t·k_s/√D)` over the keys that query t sees, from the
//! queries and keys that the model really computes.
//!
//! The fused op never stores p. So the plan ends at the operand of every attention, and p is computed from it
//! here, in f64.

use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::abilities::Inability;
use crate::models::config::{ModelConfig, Position};
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::ops::attention_bias::alibi_slope;

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
    #[error("the prompt has {got} tokens, but the model sees at most {most}: shorten it")]
    TooLong { got: usize, most: usize },
    #[error("there is no token {id}: the model has {vocab_size}, counted from 0")]
    UnknownToken { id: u32, vocab_size: usize },
    #[error("the prompt has no token")]
    Empty,
    #[error(transparent)]
    Inability(#[from] Inability),
}

impl InspectError {
    /// Checks that there are tokens, no more than `most`, and that the model has a row for each.
    pub(super) fn check(config: &ModelConfig, tokens: &[u32], most: usize) -> Result<(), Self> {
        match tokens.len() {
            0 => return Err(Self::Empty),
            got if got > most => return Err(Self::TooLong { got, most }),
            _ => {}
        }
        match tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
            Some(&id) => Err(Self::UnknownToken { id, vocab_size: config.vocab_size }),
            None => Ok(()),
        }
    }
}

/// One head: how much query t (a row) takes from key s (a column).
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub layer: usize,
    pub head: usize,
    /// Tokens.
    pub time: usize,
    /// (time, time), rows summing to 1; 0 where a query does not see.
    pub p: Vec<f64>,
}

impl Head {
    /// What query t takes from each key.
    pub fn row(&self, t: usize) -> &[f64] {
        &self.p[t * self.time..][..self.time]
    }

    /// The entropy of a row in bits, averaged over queries: 0 looks at one token, log₂ t at all alike.
    pub fn entropy(&self) -> f64 {
        let bits = |row: &[f64]| row.iter().filter(|p| **p > 0.0).map(|p| -p * p.log2()).sum::<f64>();
        (0..self.time).map(|t| bits(self.row(t))).sum::<f64>() / self.time as f64
    }

    /// How many tokens away it looks, on average.
    pub fn distance(&self) -> f64 {
        let of =
            |t: usize| self.row(t).iter().enumerate().map(|(s, p)| p * t.abs_diff(s) as f64).sum::<f64>();
        (0..self.time).map(of).sum::<f64>() / self.time as f64
    }
}

/// Every head of every layer on these tokens. The device holds the model's parameters.
pub fn heads(
    device: &mut dyn Device,
    config: &ModelConfig,
    tokens: &[u32],
) -> Result<Vec<Head>, InspectError> {
    InspectError::check(config, tokens, config.block_size)?;
    let mut tape = Tape::new("inspect");
    let input = tape.input("tokens", Spec::u32([1, tokens.len()]));
    backbone(&mut tape, config, ModelInputs { tokens: input, segments: None }, Pass::Evaluate)?;
    let attentions = tape.nodes.iter().filter(|node| node.op.info().name == "attention");
    let qkv: Vec<_> = attentions.map(|node| node.inputs[0]).collect();
    let plan = Arc::new(Plan::new(&tape, &qkv)?);
    let id = device.load(&plan, 0)?;
    device.set_input(id, "tokens", HostData::U32(tokens))?;
    device.run(id, 0, &Step::default())?;
    let results = device.results(true)?.unwrap_or_default();
    let layers = results.iter().enumerate();
    Ok(layers.flat_map(|(layer, qkv)| probabilities(layer, qkv, config, tokens.len())).collect())
}

/// qkv (time, n_head + 2 n_kv_head, D) → p of each head.
fn probabilities(layer: usize, qkv: &[f32], config: &ModelConfig, time: usize) -> Vec<Head> {
    let (n_head, row) = (config.n_head, qkv.len() / time);
    let width = row / (n_head + 2 * config.n_kv_head);
    let scale = config.details.attention_scale.unwrap_or(1.0 / (width as f64).sqrt());
    let window = config.details.window_of(layer);
    let part = |t: usize, part: usize| &qkv[t * row + part * width..][..width];
    let of_head = |head: usize| {
        let key = n_head + head * config.n_kv_head / n_head;
        let slope = if config.position == Position::Alibi { alibi_slope(n_head, head) } else { 0.0 };
        let mut p = vec![0.0; time * time];
        for t in 0..time {
            let dot = |s: usize| -> f64 {
                let terms = part(t, head).iter().zip(part(s, key));
                terms.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum()
            };
            let seen = if config.causal { t + 1 } else { time };
            let first = if window > 0 { seen.saturating_sub(window) } else { 0 };
            let score = |s: usize| dot(s) * scale - slope * t.abs_diff(s) as f64;
            let scores: Vec<_> = (first..seen).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            for (p, score) in p[t * time + first..].iter_mut().zip(&scores) {
                *p = (score - largest).exp() / sum;
            }
        }
        Head { layer, head, time, p }
    };
    (0..n_head).map(of_head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::details::Details;

    /// Two tokens, two heads of width 1: q = 1 and k = 0, ln 3 in the first, k = 0 in the second.
    #[test]
    fn rows_are_softmaxes_of_scores_up_to_the_diagonal() {
        let third = 3f32.ln();
        let qkv = [1.0, 1.0, 0.0, 0.0, 9.0, 9.0, 1.0, 1.0, third, 0.0, 9.0, 9.0];
        let heads = probabilities(4, &qkv, &ModelConfig::gpt(9, 2, 5, 2, 2), 2);
        assert_eq!((heads[0].layer, heads[1].head), (4, 1));
        for (p, want) in heads[0].p.iter().zip([1.0, 0.0, 0.25, 0.75]) {
            assert!((p - want).abs() < 1e-7, "{p} instead of {want}");
        }
        assert_eq!(heads[1].p, [1.0, 0.0, 0.5, 0.5]);
        let mut narrow = ModelConfig::gpt(9, 2, 5, 2, 2);
        narrow.details.window = 1;
        assert_eq!(probabilities(4, &qkv, &narrow, 2)[0].p, [1.0, 0.0, 0.0, 1.0]);
        // Scores doubled: ln 9 in place of ln 3.
        let doubled = Details { attention_scale: Some(2.0), ..Details::default() };
        let scaled = ModelConfig { details: doubled, ..ModelConfig::gpt(9, 2, 5, 2, 2) };
        let p = &probabilities(4, &qkv, &scaled, 2)[0].p;
        assert!((p[2] - 0.1).abs() < 1e-7 && (p[3] - 0.9).abs() < 1e-7, "{p:?}");
        // No bit in the first row, one in the second; one token back in half the cases of the second.
        assert_eq!((heads[1].entropy(), heads[1].distance()), (0.5, 0.25));
    }
}
