//! Hidden tokens to guess: BERT's objective (Devlin et al. 2019, section 3.1).
//!
//! Each token is chosen with probability 15%. Of those chosen, 80% become the mask, 10% a random token, and 10%
//! stay as they are, so that a model cannot rely on seeing the mask where it has to answer.

use rand_chacha::rand_core::Rng;

use super::dataset::{below, unit};

/// The share of tokens that are chosen.
pub const CHOSEN: f64 = 0.15;
/// The shares of the chosen that become the mask, or a random token.
pub const MASKED: f64 = 0.8;
pub const REPLACED: f64 = 0.1;

/// Tokens with some hidden; every field has as many entries as there were tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Masked {
    pub tokens: Vec<u32>,
    /// What the tokens were.
    pub targets: Vec<u32>,
    /// 1 where a token was chosen, else 0.
    pub weights: Vec<f32>,
}

/// Hides tokens at random; `mask` is the id of the token that hides, and random ones are drawn from the ids below
/// `vocab_size`, which should count no special tokens.
///
/// # Panics
/// If `vocab_size` is 0.
pub fn hide(tokens: &[u32], mask: u32, vocab_size: usize, rng: &mut impl Rng) -> Masked {
    assert!(vocab_size > 0, "there is no token to draw");
    let mut masked =
        Masked { tokens: tokens.to_vec(), targets: tokens.to_vec(), weights: vec![0.0; tokens.len()] };
    for (token, weight) in masked.tokens.iter_mut().zip(&mut masked.weights) {
        if unit(rng) >= CHOSEN {
            continue;
        }
        *weight = 1.0;
        let fate = unit(rng);
        if fate < MASKED {
            *token = mask;
        } else if fate < MASKED + REPLACED {
            *token = below(vocab_size, rng) as u32;
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const MASK: u32 = 50;

    fn hidden(tokens: &[u32], seed: u64) -> Masked {
        hide(tokens, MASK, 50, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// Each share within four standard deviations of what BERT's paper asks for.
    #[test]
    fn the_shares_are_those_of_bert() {
        let n = 200_000.0;
        let tokens: Vec<u32> = (0..n as u32).map(|i| i % 50).collect();
        let masked = hidden(&tokens, 1);
        let counts = |fate: &dyn Fn(u32, u32, f32) -> bool| {
            let all = masked.tokens.iter().zip(&tokens).zip(&masked.weights);
            all.filter(|((now, was), weight)| fate(**now, **was, **weight)).count() as f64
        };
        let near = |count: f64, share: f64| {
            assert!((count - n * share).abs() < 4.0 * (n * share * (1.0 - share)).sqrt(), "{count} {share}");
        };
        near(counts(&|_, _, weight| weight == 1.0), 0.15);
        near(counts(&|now, _, weight| weight == 1.0 && now == MASK), 0.12);
        // A random token is in one of 50 cases the one that was there.
        near(counts(&|now, was, weight| weight == 1.0 && now != MASK && now != was), 0.015 * 0.98);
        near(counts(&|now, was, weight| weight == 1.0 && now == was), 0.015 + 0.015 * 0.02);
        assert_eq!(counts(&|now, was, weight| weight == 0.0 && now != was), 0.0);
        assert_eq!(masked.targets, tokens);
        assert!(masked.tokens.iter().all(|&token| token <= MASK));
        // Every token is drawn in place of others: 60 times each, standard deviation 7.7.
        let drawn = |token| counts(&|now, was, _| now == token && now != was);
        assert!((0..50).all(|token| (20.0..100.0).contains(&drawn(token))));
    }

    #[test]
    fn the_choice_is_the_generator_s() {
        let tokens = [7; 500];
        assert_eq!(hidden(&tokens, 1), hidden(&tokens, 1));
        assert_ne!(hidden(&tokens, 1), hidden(&tokens, 2));
        assert!(hidden(&[], 1).tokens.is_empty());
    }
}
