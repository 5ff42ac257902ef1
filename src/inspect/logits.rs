//! What a model expects next: its own distribution, and what a strategy makes of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::attention::InspectError;
use crate::engine::device::{Device, HostData};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::{Architecture, ModelConfig};
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::sample::strategy::{Candidate, Sampler, Strategy, StrategyError};

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub id: u32,
    pub logit: f32,
    /// As the model has it: softmax of the logits.
    pub probability: f32,
    /// As the strategy draws it; 0 where it leaves the token out.
    pub drawn: f32,
}

/// A distribution over the next token.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Most probable first.
    pub tokens: Vec<Expected>,
    /// Of the model's own distribution, in bits.
    pub entropy: f32,
    /// Of what the strategy draws from, in bits.
    pub drawn_entropy: f32,
    /// Tokens that the strategy leaves.
    pub kept: usize,
}

/// The distribution after `recent` tokens.
///
/// # Errors
/// When a value of the strategy is outside its range or a logit is not finite.
pub fn expectation(logits: &[f32], recent: &[u32], strategy: Strategy) -> Result<Expectation, StrategyError> {
    let considered = |strategy| {
        let mut sampler = Sampler::new(strategy)?;
        sampler.consider(logits, recent)?;
        Ok::<_, StrategyError>(sampler.candidates(usize::MAX).to_vec())
    };
    let (plain, drawn) = (considered(Strategy::default())?, considered(strategy)?);
    let mut chances = vec![0.0; logits.len()];
    for candidate in &drawn {
        chances[candidate.id as usize] = candidate.probability;
    }
    let expected = |c: &Candidate| Expected {
        id: c.id,
        logit: logits[c.id as usize],
        probability: c.probability,
        drawn: chances[c.id as usize],
    };
    Ok(Expectation {
        tokens: plain.iter().map(expected).collect(),
        entropy: entropy(&plain),
        drawn_entropy: entropy(&drawn),
        kept: drawn.len(),
    })
}

/// The logits at each of `tokens`, (time, vocab_size): of the token after it, or of a model that sees both sides, of
/// the token itself. The device holds the model's parameters.
///
/// # Errors
/// When there is no token, one that the model has no row for, or more than it reads at once; and of word vectors, which
/// have no logits of tokens.
pub fn all_logits(
    device: &mut dyn Device,
    config: &ModelConfig,
    tokens: &[u32],
) -> Result<Vec<f32>, InspectError> {
    if config.architecture == Architecture::Skipgram {
        config.predicts_next()?;
    }
    config.predicts()?;
    let is_bounded = config.architecture == Architecture::Transformer;
    InspectError::check(config, tokens, if is_bounded { config.block_size } else { usize::MAX })?;
    let (time, width) = (tokens.len(), config.block_size);
    let mut model = Cow::Borrowed(config);
    let (batch, read) = match config.architecture {
        // It reads a window for each token; before the first ones stands the first token.
        Architecture::Mlp => {
            let at = |end: usize, back: usize| tokens[(end + back).saturating_sub(width - 1)];
            (time, (0..time).flat_map(|end| (0..width).map(move |back| at(end, back))).collect())
        }
        _ => (1, tokens.to_vec()),
    };
    if config.is_recurrent() {
        model.to_mut().block_size = time;
    }
    let mut tape = Tape::new("logits");
    let input = tape.input("tokens", Spec::u32(model.tokens_shape(batch, read.len() / batch)));
    let read_by = ModelInputs { tokens: input, segments: None };
    let logits = backbone(&mut tape, &model, read_by, Pass::Evaluate)?.logits(&mut tape, 0, time)?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[logits])?), 0)?;
    device.set_input(plan, "tokens", HostData::U32(&read))?;
    device.run(plan, 0, &Step::default())?;
    Ok(device.results(true)?.unwrap_or_default().pop().unwrap_or_default())
}

/// -Σ p log₂ p.
fn entropy(candidates: &[Candidate]) -> f32 {
    let p = candidates.iter().map(|c| c.probability).filter(|p| *p > 0.0);
    p.map(|p| -p * p.log2()).sum::<f32>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_and_what_top_k_leaves_of_it() {
        let logits = [1f32, 4.0, 2.0, 1.0].map(f32::ln);
        let strategy = Strategy { top_k: Some(2), ..Strategy::default() };
        let found = expectation(&logits, &[], strategy).expect("the logits are finite");
        let ids: Vec<_> = found.tokens.iter().map(|t| t.id).collect();
        assert_eq!(ids, [1, 2, 0, 3]);
        for (token, (p, drawn)) in
            found.tokens.iter().zip([(0.5, 2.0 / 3.0), (0.25, 1.0 / 3.0), (0.125, 0.0), (0.125, 0.0)])
        {
            assert!((token.probability - p).abs() < 1e-6 && (token.drawn - drawn).abs() < 1e-6, "{token:?}");
        }
        // ½·1 + ¼·2 + 2·⅛·3 bits; two thirds and one third.
        assert!((found.entropy - 1.75).abs() < 1e-5, "{}", found.entropy);
        assert!((found.drawn_entropy - 0.918_296).abs() < 1e-5, "{}", found.drawn_entropy);
        assert_eq!(found.kept, 2);
    }
}
