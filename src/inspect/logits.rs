//! What a model expects next: its own distribution, and what a strategy makes of it.

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
