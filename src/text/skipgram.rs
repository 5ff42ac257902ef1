//! Tokens and the tokens around them: what word vectors are learned from (Mikolov et al. 2013, "Distributed
//! Representations of Words and Phrases and their Compositionality").
//!
//! A token of frequency f is skipped with probability 1 − √(t / f), so that spaces and articles do not crowd out the
//! rest. Of those that are left a token is paired with one at most `window` places away, at a distance d in proportion
//! to window + 1 − d: as if each token drew its own window size. A model learns to distinguish a pair from pairs with
//! random tokens, drawn in proportion to count^¾.

use rand_chacha::rand_core::Rng;

use super::dataset::{below, unit};

/// The power of a token's count by which it is drawn as a wrong neighbour.
const NEGATIVE_POWER: f64 = 0.75;

/// The t above for texts of some megabytes; the paper's text of a billion words takes 1e-5.
pub const THRESHOLD: f64 = 1e-3;

/// Draws pairs to learn from.
#[derive(Clone, Debug)]
pub struct SkipGram {
    /// The most places between a token and a neighbour.
    window: usize,
    /// The probability that each token is kept.
    keep: Vec<f64>,
    /// Of each token the summed count^¾ of it and those before it.
    cumulative: Vec<f64>,
}

impl SkipGram {
    /// Counts the tokens of a text. Those above a frequency of `threshold` are thinned out.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn new(tokens: &[u32], vocab_size: usize, window: usize, threshold: f64) -> Self {
        let mut counts = vec![0u64; vocab_size];
        tokens.iter().for_each(|&token| counts[token as usize] += 1);
        let kept = |&count: &u64| (threshold * tokens.len() as f64 / count as f64).sqrt().min(1.0);
        let mut sum = 0.0;
        let add = |&count: &u64| {
            sum += (count as f64).powf(NEGATIVE_POWER);
            sum
        };
        let cumulative = counts.iter().map(add).collect();
        Self { window, keep: counts.iter().map(kept).collect(), cumulative }
    }

    /// A token of `tokens` and a neighbour of it.
    ///
    /// # Panics
    /// If there are not two tokens.
    pub fn pair(&self, tokens: &[u32], rng: &mut impl Rng) -> [u32; 2] {
        assert!(tokens.len() > 1, "a single token has no neighbour");
        loop {
            let at = below(tokens.len(), rng);
            if unit(rng) >= self.keep[tokens[at] as usize] {
                continue;
            }
            // The lesser of a number below w and one below w + 1 is k in proportion to w − k.
            let apart = below(self.window, rng).min(below(self.window + 1, rng));
            let before = below(2, rng) == 0;
            let kept = |token: &&u32| unit(rng) < self.keep[**token as usize];
            let neighbour = match before {
                true => tokens[..at].iter().rev().filter(kept).nth(apart),
                false => tokens[at + 1..].iter().filter(kept).nth(apart),
            };
            if let Some(&neighbour) = neighbour {
                return [tokens[at], neighbour];
            }
        }
    }

    /// A wrong neighbour where `right` is the right one: any other token, in proportion to count^¾.
    pub fn negative(&self, right: u32, rng: &mut impl Rng) -> u32 {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let right = right as usize;
        let (start, end) =
            (if right == 0 { 0.0 } else { self.cumulative[right - 1] }, self.cumulative[right]);
        // A place outside the right one's share.
        let mut drawn = unit(rng) * (total - (end - start));
        if drawn >= start {
            drawn += end - start;
        }
        // Rounding may carry the sum up to the total itself.
        self.cumulative.partition_point(|&sum| sum <= drawn).min(self.cumulative.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const DRAWS: usize = 20_000;

    /// How often each pair is drawn.
    fn counts(data: &SkipGram, tokens: &[u32], n: usize) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut counts = vec![0.0; n * n];
        for _ in 0..DRAWS {
            let [token, neighbour] = data.pair(tokens, &mut rng);
            counts[token as usize * n + neighbour as usize] += 1.0;
        }
        counts
    }

    /// Within four standard deviations of a binomial count.
    #[track_caller]
    fn near(count: f64, share: f64) {
        let n = DRAWS as f64;
        assert!((count - n * share).abs() <= 4.0 * (n * share * (1.0 - share)).sqrt(), "{count} for {share}");
    }

    /// 0 1 2 with a window of one: from the middle either way, half of the draws from the ends leave the text and are
    /// repeated.
    #[test]
    fn neighbours_by_hand() {
        let tokens = [0, 1, 2];
        let counts = counts(&SkipGram::new(&tokens, 3, 1, 1.0), &tokens, 3);
        for (count, share) in counts.iter().zip([0.0, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0]) {
            near(*count, share);
        }
    }

    /// A window of 3 pairs at distances 1, 2 and 3 in proportion to 3, 2 and 1, as often before as after.
    #[test]
    fn nearer_tokens_are_paired_more_often() {
        let tokens: Vec<u32> = (0..20_000).collect();
        let data = SkipGram::new(&tokens, tokens.len(), 3, 1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut counts = [0.0; 7];
        for _ in 0..DRAWS {
            let [token, neighbour] = data.pair(&tokens, &mut rng);
            counts[(neighbour + 3 - token) as usize] += 1.0;
        }
        for (count, sixth) in counts.iter().zip([1.0, 2.0, 3.0, 0.0, 3.0, 2.0, 1.0]) {
            near(*count, sixth / 12.0);
        }
    }

    /// 0 is 9 in 10 tokens: with t = 0.1 it stays with probability √(0.1 / 0.9) = ⅓. Left are three of 0 for each 1,
    /// and the neighbour of a 1 may be the 1 of another line.
    #[test]
    fn frequent_tokens_are_passed_over() {
        let tokens = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(3000);
        let data = SkipGram::new(&tokens, 2, 1, 0.1);
        let counts = counts(&data, &tokens, 2);
        near(counts[2] + counts[3], 0.25);
        // Two 1s meet when all nine between them are skipped.
        near(counts[3], 0.25 * (2.0f64 / 3.0).powi(9));
    }

    /// Counts 16, 1, 1 and 0 to the power of ¾ are 8, 1, 1 and 0.
    #[test]
    fn negatives_follow_the_power_of_the_counts() {
        let mut tokens = vec![0; 16];
        tokens.extend([1, 2]);
        let data = SkipGram::new(&tokens, 4, 1, 1.0);
        for (right, shares) in [
            (0, [0.0, 0.5, 0.5, 0.0]),
            (1, [8.0 / 9.0, 0.0, 1.0 / 9.0, 0.0]),
            (2, [8.0 / 9.0, 1.0 / 9.0, 0.0, 0.0]),
            (3, [0.8, 0.1, 0.1, 0.0]),
        ] {
            let (mut rng, mut counts) = (ChaCha8Rng::seed_from_u64(3), [0.0; 4]);
            (0..DRAWS).for_each(|_| counts[data.negative(right, &mut rng) as usize] += 1.0);
            counts.iter().zip(shares).for_each(|(&count, share)| near(count, share));
        }
        // Where there is no other it is the same.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(SkipGram::new(&[0, 0], 1, 1, 1.0).negative(0, &mut rng), 0);
    }
}
