//! How the next token is chosen: from logits to candidates, and one of them drawn.
//!
//! The steps and their order are those of Hugging Face `transformers` (`generation/logits_process.py`):
//!
//! 1. *Repetition penalty* θ (CTRL, Keskar et al. 2019): the logit of every token seen recently is divided
//!    by θ where it is positive and multiplied by θ where it is negative, once however often it was seen.
//! 2. *Temperature* T: logits are divided by T. T = 0 is greedy: the greatest logit wins, of equals the
//!    one with the lowest id.
//! 3. *Top-k*: the k greatest stay.
//! 4. *Top-p* (nucleus, Holtzman et al. 2020): the fewest, greatest first, whose probabilities sum to at
//!    least p.
//! 5. *Min-p* (Nguyen et al. 2024): those at least min-p times as probable as the most probable.
//!
//! What stays is normalised to sum to 1. Of equals at an edge the lower ids stay, so that the result does
//! not depend on how it is sorted (`transformers` keeps all equals at the edge of top-k).

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::ops::draw_token::DrawToken;

/// How the next token is chosen from the logits. The default samples from the model unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// 0 (greedy) or more; below 1 sharpens, above 1 flattens.
    pub temperature: f32,
    /// How many tokens stay, 1 or more.
    pub top_k: Option<usize>,
    /// The probability that stays, in (0, 1].
    pub top_p: Option<f32>,
    /// The least probability that stays, relative to the greatest, in [0, 1].
    pub min_p: Option<f32>,
    /// Above 0; 1 does nothing, more discourages what was said before.
    pub repetition_penalty: f32,
}

impl Default for Strategy {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0 }
    }
}

/// Why no token can be chosen, and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StrategyError {
    #[error("{flag} {value} is outside its range: {range}")]
    Range { flag: &'static str, value: String, range: &'static str },
    #[error(
        "the logit of token {id} is {value}: the weights are not finite, so the training diverged; go back to \
         an earlier checkpoint, or train with a lower --learning-rate"
    )]
    NotFinite { id: usize, value: f32 },
    #[error("there are no logits: a vocabulary has at least one token")]
    Empty,
}

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub id: u32,
    pub probability: f32,
}

/// Chooses tokens by one strategy; keeps its memory from token to token.
#[derive(Clone, Debug)]
pub struct Sampler {
    strategy: Strategy,
    /// In any order: [`rank`](Self::rank) sorts as many as are asked for. While they are being scored, their
    /// probabilities are logits.
    candidates: Vec<Candidate>,
}

impl Strategy {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether every value is in its range.
    pub fn check(&self) -> Result<(), StrategyError> {
        let check = |flag, value: f32, inside: bool, range| {
            if inside { Ok(()) } else { Err(StrategyError::Range { flag, value: value.to_string(), range }) }
        };
        let Self { temperature, top_k, top_p, min_p, repetition_penalty } = *self;
        let finite = temperature.is_finite() && temperature >= 0.0;
        let range = "0 (always the most likely token) or more; 1 draws from the model as it is";
        check("--temperature", temperature, finite, range)?;
        check("--top-k", 0.0, top_k != Some(0), "1 or more")?;
        let (p, least) = (top_p.unwrap_or(1.0), min_p.unwrap_or(0.0));
        check("--top-p", p, p > 0.0 && p <= 1.0, "above 0, at most 1")?;
        check("--min-p", least, (0.0..=1.0).contains(&least), "0 to 1")?;
        let theta = repetition_penalty;
        let inside = theta.is_finite() && theta > 0.0;
        check("--repetition-penalty", theta, inside, "above 0; above 1 it discourages, 1 turns it off")
    }
}

impl Sampler {
    pub fn new(strategy: Strategy) -> Result<Self, StrategyError> {
        strategy.check()?;
        Ok(Self { strategy, candidates: Vec::new() })
    }

    /// How a device draws one of so many tokens by the same strategy; `None` where it cannot.
    pub fn rule(&self, known: usize) -> Option<DrawToken> {
        let Strategy { temperature, top_k, top_p, min_p, repetition_penalty } = self.strategy;
        let plain = DrawToken {
            known,
            temperature,
            top_k: top_k.unwrap_or(known),
            top_p: top_p.unwrap_or(1.0),
            min_p: min_p.unwrap_or(0.0),
        };
        let rule = match temperature {
            0.0 => DrawToken { temperature: 1.0, top_k: 1, top_p: 1.0, min_p: 0.0, ..plain },
            _ => plain,
        };
        // The device does not look back, and may flush a denormal temperature to 0.
        let can = repetition_penalty == 1.0 && rule.temperature.is_normal() && known <= DrawToken::MOST;
        can.then_some(rule)
    }

    /// The next token, drawn with the candidates' probabilities: [`consider`](Self::consider), then
    /// [`draw`](Self::draw). `recent` are the tokens that the repetition penalty is for.
    pub fn next(
        &mut self,
        logits: &[f32],
        recent: &[u32],
        rng: &mut ChaCha8Rng,
    ) -> Result<u32, StrategyError> {
        self.consider(logits, recent)?;
        Ok(self.draw(rng))
    }

    /// Finds the tokens that may come next. Greedy leaves one, with probability 1.
    pub fn consider(&mut self, logits: &[f32], recent: &[u32]) -> Result<(), StrategyError> {
        self.score(logits, recent)?;
        let Strategy { temperature, top_k, top_p, min_p, .. } = self.strategy;
        if temperature == 0.0 {
            self.keep_greatest(1);
            self.normalise(|_| 1.0);
            return Ok(());
        }
        if let Some(k) = top_k {
            self.keep_greatest(k);
        }
        let greatest = self.greatest();
        self.normalise(|logit| ((logit - greatest) / temperature).exp());
        if let Some(p) = top_p.filter(|&p| p < 1.0) {
            let end = self.rank(|sum| sum >= p).map_or(self.candidates.len(), |last| last + 1);
            self.candidates.truncate(end);
        }
        if let Some(share) = min_p {
            let least = share * self.greatest();
            self.candidates.retain(|candidate| candidate.probability >= least);
        }
        if top_p.is_some() || min_p.is_some() {
            self.normalise(|probability| probability);
        }
        Ok(())
    }

    /// The `n` most probable of the tokens that may come next (fewer if there are), most probable first, of
    /// equals the lowest id first.
    pub fn candidates(&mut self, n: usize) -> &[Candidate] {
        let mut ranked = 0;
        self.rank(|_| {
            ranked += 1;
            ranked >= n
        });
        &self.candidates[..n.min(self.candidates.len())]
    }

    /// One of the tokens last considered: the first, from the most probable down, at which the cumulative
    /// probability exceeds a uniform number made of 24 bits of `rng`.
    ///
    /// # Panics
    /// If none were considered before.
    pub fn draw(&mut self, rng: &mut ChaCha8Rng) -> u32 {
        let uniform = uniform(rng);
        // Rounding can leave the sum below `uniform`: the most probable token takes the missing 1e-7.
        let drawn = self.rank(|sum| sum > uniform).unwrap_or(0);
        self.candidates[drawn].id
    }

    /// Fills the candidates with penalised logits instead of probabilities.
    fn score(&mut self, logits: &[f32], recent: &[u32]) -> Result<(), StrategyError> {
        if logits.is_empty() {
            return Err(StrategyError::Empty);
        }
        if let Some(id) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(StrategyError::NotFinite { id, value: logits[id] });
        }
        self.candidates.clear();
        let ids = 0..logits.len() as u32;
        self.candidates.extend(ids.zip(logits).map(|(id, &probability)| Candidate { id, probability }));
        let penalty = self.strategy.repetition_penalty;
        if penalty != 1.0 {
            for &id in recent {
                // From the logit, not from what an earlier mention made of it: each token pays once.
                if let (Some(candidate), Some(&logit)) =
                    (self.candidates.get_mut(id as usize), logits.get(id as usize))
                {
                    let penalised = if logit > 0.0 { logit / penalty } else { logit * penalty };
                    candidate.probability = penalised.clamp(f32::MIN, f32::MAX);
                }
            }
        }
        Ok(())
    }

    /// Keeps the `k` greatest, in any order.
    fn keep_greatest(&mut self, k: usize) {
        if k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, greatest_first);
            self.candidates.truncate(k);
        }
    }

    fn greatest(&self) -> f32 {
        self.candidates.iter().fold(f32::NEG_INFINITY, |m, candidate| m.max(candidate.probability))
    }

    /// Weighs every candidate, and divides by the sum of the weights.
    fn normalise(&mut self, weight: impl Fn(f32) -> f32) {
        let mut sum = 0.0;
        for candidate in &mut self.candidates {
            candidate.probability = weight(candidate.probability);
            sum += candidate.probability;
        }
        for candidate in &mut self.candidates {
            candidate.probability /= sum;
        }
    }

    /// Sorts candidates, most probable first, until `enough` accepts their cumulative probability; gives
    /// the index of the last. Of a large vocabulary only as many are sorted as it takes: the first 16, then
    /// four times as many, and so on.
    fn rank(&mut self, mut enough: impl FnMut(f32) -> bool) -> Option<usize> {
        let (mut sum, mut sorted, mut length) = (0.0, 0, 16);
        while sorted < self.candidates.len() {
            let rest = &mut self.candidates[sorted..];
            if length < rest.len() {
                rest.select_nth_unstable_by(length - 1, greatest_first);
            }
            let chunk = length.min(rest.len());
            rest[..chunk].sort_unstable_by(greatest_first);
            for (i, candidate) in rest[..chunk].iter().enumerate() {
                sum += candidate.probability;
                if enough(sum) {
                    return Some(sorted + i);
                }
            }
            (sorted, length) = (sorted + chunk, 4 * length);
        }
        None
    }
}

/// A number in [0, 1) made of 24 bits.
pub(super) fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// Descending; of equals the lower id first. None is NaN, so this is a total order.
fn greatest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.probability.partial_cmp(&a.probability).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests;
