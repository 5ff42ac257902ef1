//! `rope_freqs.weight`: what the frequencies of rotary embeddings are divided by, where `config.json` has Llama 3's
//! rule.

use std::f64::consts::TAU;

/// Llama 3's rule. The lower of its two factors is 1: with twice the context both would be twice as much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub factor: f64,
    pub high_freq_factor: f64,
    pub original: usize,
}

/// How far a factor, which is in F32, may be from its rule's.
const NEAR: f64 = 1e-5;
/// Of Llama 3.1 to 3.3.
const USUAL: (usize, f64) = (8192, 4.0);

/// What each frequency of a head of `2 n` channels is divided by.
pub fn factors(n: usize, base: f64, low: f64, rule: Rule) -> Vec<f32> {
    let original = rule.original as f64;
    let of = |wave: f64| {
        let share = (original / wave - low) / (rule.high_freq_factor - low);
        match () {
            () if wave < original / rule.high_freq_factor => 1.0,
            () if wave > original / low => rule.factor,
            () => 1.0 / ((1.0 - share) / rule.factor + share),
        }
    };
    waves(n, base).map(|wave| of(wave) as f32).collect()
}

/// The length of each wave, in tokens.
fn waves(n: usize, base: f64) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| TAU * base.powf(i as f64 / n as f64))
}

/// The rule that gives these factors; `None` where Llama 3's is none. `original` is tried first.
pub fn rule(found: &[f32], base: f64, original: Option<usize>) -> Option<Rule> {
    let factor = f64::from(*found.last()?);
    let n = found.len();
    let gives = |rule: &Rule| {
        let made = factors(n, base, 1.0, *rule);
        made.iter().zip(found).all(|(x, y)| f64::from((x - y).abs()) <= NEAR * f64::from(*y))
    };
    let usual = |original| Rule { factor, high_freq_factor: USUAL.1, original };
    let known = original.into_iter().chain([USUAL.0]).map(usual).find(&gives);
    if factor.partial_cmp(&1.0)?.is_le() {
        return None;
    }
    // Else the share of a blended frequency, (original / wave - 1) / (high - 1), is solved for both.
    let all: Vec<(f64, f64)> = waves(n, base).zip(found.iter().map(|&x| f64::from(x))).collect();
    let share = |x: f64| (1.0 / x - 1.0 / factor) / (1.0 - 1.0 / factor);
    let blended: Vec<_> =
        all.iter().filter(|(_, x)| *x > 1.0 && *x < factor).map(|&(wave, x)| (wave, share(x))).collect();
    let between = (
        all.iter().rev().find(|(_, x)| *x == 1.0).map_or(1.0, |(wave, _)| *wave),
        all.iter().find(|(_, x)| *x == factor).map_or(f64::MAX, |(wave, _)| *wave),
    );
    let solved = |original: usize| {
        let length = original as f64;
        let high = match blended.first() {
            Some((wave, share)) => 1.0 + (length / wave - 1.0) / share,
            None => (1.0 + length / between.0) / 2.0,
        };
        // The number that was written, where it is a plain one.
        let plain = (high * 16.0).round() / 16.0;
        [plain, high].map(|high_freq_factor| Rule { factor, high_freq_factor, original })
    };
    let from_two = blended.first().zip(blended.last()).and_then(|((a, s), (b, t))| {
        let slope = (s - t) / (1.0 / a - 1.0 / b);
        let low = slope / a - s;
        (slope / low).is_finite().then_some((slope / low).round() as usize)
    });
    let longest = (between.1.min(1e9) - 0.5) as usize;
    let lengths = original.into_iter().chain(from_two).chain([USUAL.0, longest]);
    known.or_else(|| lengths.flat_map(solved).find(gives))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: waves 2π, 2π·10, 2π·100 of base 1000; 8192 / 4 = 2048 tokens are longer than all of them.
    #[test]
    fn what_is_short_of_the_context_stays() {
        let rule = Rule { factor: 8.0, high_freq_factor: 4.0, original: 8192 };
        assert_eq!(factors(3, 1000.0, 1.0, rule), [1.0, 1.0, 1.0]);
        let short = Rule { original: 40, ..rule };
        assert_eq!(factors(3, 1000.0, 1.0, short), [1.0, 8.0, 8.0]);
    }

    #[test]
    fn a_rule_is_found_from_its_factors() {
        for (n, base, low, high, original) in [
            (32, 5e5, 1.0, 4.0, 8192),
            (64, 5e5, 1.0, 4.0, 8192),
            (3, 500.0, 1.0, 4.0, 32),
            (16, 1e4, 1.0, 4.0, 64),
            (16, 1e4, 2.0, 6.0, 128),
            (8, 1e4, 1.0, 8.0, 1000),
        ] {
            let made = factors(n, base, low, Rule { factor: 32.0, high_freq_factor: high, original });
            let found =
                rule(&made, base, None).unwrap_or_else(|| panic!("{n} {base} {low} {high} {original}"));
            let again = factors(n, base, 1.0, found);
            assert!(made.iter().zip(&again).all(|(x, y)| (x - y).abs() <= 1e-5 * x), "{made:?} {again:?}");
        }
        assert_eq!(rule(&[1.0, 1.0, 3.0, 2.0], 1e4, None), None);
        assert_eq!(rule(&[1.0, 0.5], 1e4, None), None);
        assert_eq!(rule(&[f32::MAX, 7.0, 2.0], 1e4, Some(0)), None);
    }
}
