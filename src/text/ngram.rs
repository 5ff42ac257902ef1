//! Counting: the next token's probability from how often it followed the last n − 1.
//!
//! Two estimates. *Add k* (Lidstone; k = 0 is maximum likelihood) is (c(hw) + k) / (c(h) + kV). Interpolated
//! *Kneser–Ney* (Kneser & Ney 1995; Chen & Goodman 1999, section 4.1.6) takes a discount D from every count and
//! passes the discounted share to the next shorter history, whose counts are not of occurrences but of the different
//! tokens seen before:
//!
//! P(w | h) = max(c(hw) − D, 0) / c(h) + D · N₁₊(h•) / c(h) · P(w | h′), down to 1/V; D = n₁ / (n₁ + 2 n₂).

use std::collections::{BTreeMap, HashMap};

use rand_chacha::rand_core::Rng;

use super::dataset::{below, pick};

/// How counts become probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    KneserNey,
    /// As if every token had followed every history k times more; 0 is maximum likelihood.
    AddK(f64),
}

/// An n-gram model over token ids below `vocab_size`.
#[derive(Clone, Debug)]
pub struct Ngram {
    n: usize,
    vocab_size: usize,
    smoothing: Smoothing,
    /// What followed the histories of each length, from none to n − 1 tokens. Add-k uses the longest only.
    levels: Vec<Level>,
}

/// The histories of one length.
#[derive(Clone, Debug, Default)]
struct Level {
    histories: HashMap<Box<[u32]>, Followers>,
    discount: f64,
}

#[derive(Clone, Debug, Default)]
struct Followers {
    counts: BTreeMap<u32, u64>,
    total: u64,
}

impl Followers {
    fn count(&self, token: u32) -> f64 {
        self.counts.get(&token).copied().unwrap_or(0) as f64
    }
}

impl Level {
    fn add(&mut self, history: &[u32], token: u32) {
        // Most histories are known already, and need no box of their own.
        if !self.histories.contains_key(history) {
            self.histories.insert(history.into(), Followers::default());
        }
        if let Some(followers) = self.histories.get_mut(history) {
            *followers.counts.entry(token).or_default() += 1;
            followers.total += 1;
        }
    }

    /// Chen & Goodman's estimate; ½ where there is nothing to estimate it from.
    fn estimate_discount(&mut self) {
        let with = |count: u64| {
            let counts = self.histories.values().flat_map(|followers| followers.counts.values());
            counts.filter(|&&c| c == count).count() as f64
        };
        let (once, twice) = (with(1), with(2));
        self.discount = if once > 0.0 && twice > 0.0 { once / (once + 2.0 * twice) } else { 0.5 };
    }
}

impl Ngram {
    /// Counts the runs of `n` tokens in `tokens`.
    ///
    /// # Panics
    /// If `n` is 0, or a token is not below `vocab_size`.
    pub fn new(tokens: &[u32], n: usize, vocab_size: usize, smoothing: Smoothing) -> Self {
        assert!(n > 0, "an n-gram has at least one token");
        assert!(
            tokens.iter().all(|&token| (token as usize) < vocab_size),
            "a token is outside the vocabulary"
        );
        let mut levels = vec![Level::default(); n];
        for run in tokens.windows(n) {
            levels[n - 1].add(&run[..n - 1], run[n - 1]);
        }
        if smoothing == Smoothing::KneserNey {
            for longer in (1..n).rev() {
                let (shorter, rest) = levels.split_at_mut(longer);
                // Each different run counts once for the run without its first token.
                for (history, followers) in &rest[0].histories {
                    followers.counts.keys().for_each(|&token| shorter[longer - 1].add(&history[1..], token));
                }
            }
            levels.iter_mut().for_each(Level::estimate_discount);
        }
        Self { n, vocab_size, smoothing, levels }
    }

    /// P(token | history), of which the last n − 1 tokens count. With add-k a shorter history is an unknown one;
    /// with k = 0 nothing is known of unknown ones, and every token has probability 0.
    pub fn probability(&self, history: &[u32], token: u32) -> f64 {
        let history = &history[history.len().saturating_sub(self.n - 1)..];
        let vocab_size = self.vocab_size as f64;
        match self.smoothing {
            Smoothing::AddK(k) => {
                let followers = self.levels[self.n - 1].histories.get(history);
                let (count, total) = followers.map_or((0.0, 0.0), |f| (f.count(token), f.total as f64));
                if total + k > 0.0 { (count + k) / (total + k * vocab_size) } else { 0.0 }
            }
            Smoothing::KneserNey => {
                let mut probability = 1.0 / vocab_size;
                for (length, level) in self.levels.iter().enumerate().take(history.len() + 1) {
                    // A history whose end is unknown is unknown itself.
                    let Some(followers) = level.histories.get(&history[history.len() - length..]) else {
                        break;
                    };
                    let (total, kinds) = (followers.total as f64, followers.counts.len() as f64);
                    let kept = (followers.count(token) - level.discount).max(0.0);
                    probability = (kept + level.discount * kinds * probability) / total;
                }
                probability
            }
        }
    }

    /// P(· | history), (vocab_size).
    pub fn distribution(&self, history: &[u32]) -> Vec<f64> {
        (0..self.vocab_size as u32).map(|token| self.probability(history, token)).collect()
    }

    /// The mean −ln P over the tokens that have a whole history before them, the first token always excepted: what
    /// a trained model calls its loss. Infinite if one of them has probability 0, NaN if there are none.
    pub fn nats_per_token(&self, tokens: &[u32]) -> f64 {
        let first = (self.n - 1).max(1);
        let nats = |at: usize| -self.probability(&tokens[at + 1 - self.n..at], tokens[at]).ln();
        (first..tokens.len()).map(nats).sum::<f64>() / tokens.len().saturating_sub(first) as f64
    }

    /// A token drawn from P(· | history); any token where all have probability 0.
    pub fn sample(&self, history: &[u32], rng: &mut impl Rng) -> u32 {
        let distribution = self.distribution(history);
        let known = distribution.iter().any(|&p| p > 0.0);
        (if known { pick(distribution.into_iter(), rng) } else { below(self.vocab_size, rng) }) as u32
    }
}

/// The least loss that any table of next-token probabilities by last token can have on `tokens`: the conditional
/// entropy of its bigrams, in nats. A trained bigram model comes down to it and no further.
pub fn bigram_floor(tokens: &[u32], vocab_size: usize) -> f64 {
    Ngram::new(tokens, 2, vocab_size, Smoothing::AddK(0.0)).nats_per_token(tokens)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::text::dataset::Dataset;
    use crate::text::tales::Tales;
    use crate::text::tokenizer::Tokenizer;

    #[track_caller]
    fn near(value: f64, wanted: f64) {
        assert!((value - wanted).abs() < 1e-12, "{value} is not {wanted}");
    }

    /// Of "abababac": a is followed by b three times and by c once, b three times by a.
    #[test]
    fn maximum_likelihood_by_hand() {
        let tokens = [0, 1, 0, 1, 0, 1, 0, 2];
        let model = Ngram::new(&tokens, 2, 3, Smoothing::AddK(0.0));
        assert_eq!(model.distribution(&[0]), [0.0, 0.75, 0.25]);
        assert_eq!(model.distribution(&[1]), [1.0, 0.0, 0.0]);
        assert_eq!(model.distribution(&[2]), [0.0; 3]);
        near(bigram_floor(&tokens, 3), (3.0 * (4.0f64 / 3.0).ln() + 4f64.ln()) / 7.0);
        assert_eq!(model.nats_per_token(&[0, 0]), f64::INFINITY);
        let half = Ngram::new(&tokens, 2, 3, Smoothing::AddK(0.5));
        near(half.probability(&[0], 1), 3.5 / 5.5);
        near(half.probability(&[2], 1), 1.0 / 3.0);
    }

    /// "aabac": bigrams aa, ab, ba, ac, each once, so D is ½ at the upper level. Of different tokens before it, a
    /// has two (a, b), b and c one each: n₁ = 2, n₂ = 1, D = ½.
    #[test]
    fn kneser_ney_by_hand() {
        let model = Ngram::new(&[0, 0, 1, 0, 2], 2, 3, Smoothing::KneserNey);
        let unigram = [1.5 / 4.0 + 0.125, 0.5 / 4.0 + 0.125, 0.5 / 4.0 + 0.125];
        // 1/V is 1/3, and D · kinds / total · 1/V = ½ · 3/4 · 1/3 = 0.125.
        for token in 0..3 {
            near(model.probability(&[], token), unigram[token as usize]);
            near(model.probability(&[2], token), unigram[token as usize]);
            let kept = 0.5 / 3.0;
            near(model.probability(&[0], token), kept + 0.5 * unigram[token as usize]);
        }
        near(model.probability(&[1], 0), 0.5 + 0.5 * 0.5);
        near(model.probability(&[1], 1), 0.5 * 0.25);
    }

    #[test]
    fn probabilities_sum_to_one_after_any_history() {
        let text = Tales::new().corpus(5, 20_000).text;
        let tokenizer = Tokenizer::from_name("char", &text).unwrap();
        let tokens = tokenizer.encode(&text).unwrap();
        for n in 1..=5 {
            for smoothing in [Smoothing::KneserNey, Smoothing::AddK(0.1)] {
                let model = Ngram::new(&tokens, n, tokenizer.vocab_size(), smoothing);
                for at in (5..tokens.len()).step_by(1733) {
                    let unseen = [tokens[at], 0, tokens[at / 2], 1, tokens[at / 3]];
                    for history in [&tokens[at - 5..at], &unseen, &[]] {
                        let sum: f64 = model.distribution(history).iter().sum();
                        assert!((sum - 1.0).abs() < 1e-9, "{n} {smoothing:?} {sum}");
                    }
                }
            }
        }
    }

    #[test]
    fn longer_histories_help_and_none_beats_the_floor() {
        let corpus = Tales::new().corpus(6, 200_000);
        let tokenizer = Tokenizer::from_name("char", &corpus.text).unwrap();
        let data = Dataset::new("tales", &corpus.text, &tokenizer).unwrap();
        let [train, val] = [&data.train, &data.val].map(|tokens| tokens.all().unwrap());
        let loss = |n| {
            let model = Ngram::new(&train, n, tokenizer.vocab_size(), Smoothing::KneserNey);
            model.nats_per_token(&val)
        };
        let losses: Vec<f64> = (1..=5).map(loss).collect();
        assert!(losses.windows(2).all(|pair| pair[1] < pair[0] - 0.05), "{losses:?}");
        assert!(losses[4] > corpus.val_nats_per_char(), "{losses:?}");
        // Smoothing costs a bigram little, and it cannot beat the floor on what it has counted.
        let smoothed = Ngram::new(&train, 2, tokenizer.vocab_size(), Smoothing::KneserNey);
        let (floor, on_train) =
            (bigram_floor(&train, tokenizer.vocab_size()), smoothed.nats_per_token(&train));
        assert!(on_train > floor && on_train < floor + 0.01, "{on_train} {floor}");
    }

    #[test]
    fn samples_have_the_model_s_frequencies() {
        let model = Ngram::new(&[0, 1, 0, 1, 0, 1, 0, 2], 2, 3, Smoothing::KneserNey);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0.0; 3];
        let draws = 40_000.0;
        (0..draws as usize).for_each(|_| counts[model.sample(&[0], &mut rng) as usize] += 1.0);
        for (count, p) in counts.iter().zip(model.distribution(&[0])) {
            let deviation = (draws * p * (1.0 - p)).sqrt();
            assert!((count - draws * p).abs() < 4.0 * deviation, "{counts:?}");
        }
    }
}
