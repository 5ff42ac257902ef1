//! The ranges of the numbers of a run.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::config_error::ConfigError;
use crate::models::config::SIZES;

/// The greatest number of steps: years of them.
pub const STEPS: u64 = 1_000_000_000;

/// Whole numbers among the settings that are no [sizes of a model](SIZES). The greatest are beyond use, and so small
/// that no product of a few of them wraps.
const COUNTS: [(&str, RangeInclusive<u64>); 9] = [
    ("steps", 1..=STEPS),
    ("batch_size", 1..=1 << 32),
    ("grad_accum", 1..=1 << 20),
    ("warmup_steps", 0..=STEPS),
    ("eval_every", 1..=STEPS),
    ("eval_iters", 1..=1_000_000),
    ("sample_tokens", 0..=1_000_000),
    ("save_every", 1..=STEPS),
    // The integers of TOML, in which settings are kept.
    ("seed", 0..=i64::MAX as u64),
];

/// Settings whose 0 stands for a size that follows from others.
pub const FOLLOWS: [&str; 2] = ["n_kv_head", "n_inner"];

/// Whether every whole number that `settings` name is in its range.
pub fn check_counts(settings: &impl Serialize) -> Result<(), ConfigError> {
    let json = serde_json::to_value(settings).expect("settings are words, numbers and truth values");
    let sizes = SIZES.map(|(setting, range)| {
        let least = if FOLLOWS.contains(&setting) { 0 } else { *range.start() as u64 };
        (setting, least..=*range.end() as u64)
    });
    for (setting, range) in sizes.into_iter().chain(COUNTS) {
        if let Some(value) = json[setting].as_u64().filter(|value| !range.contains(value)) {
            let (value, range) = (value.to_string(), format!("{} to {}", range.start(), range.end()));
            return Err(ConfigError::Range { setting, value, range });
        }
    }
    Ok(())
}

/// Whether a number that devices keep in single precision is in its range.
pub fn within(
    setting: &'static str,
    value: impl ToString,
    inside: bool,
    range: &'static str,
) -> Result<(), ConfigError> {
    if inside {
        return Ok(());
    }
    Err(ConfigError::Range { setting, value: value.to_string(), range: range.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::presets;
    use crate::run::settings::Settings;

    #[test]
    fn presets_are_in_range_and_their_whole_numbers_all_have_one() {
        let known: Vec<_> = SIZES.iter().map(|(name, _)| *name).chain(COUNTS.map(|(name, _)| name)).collect();
        for name in presets::NAMES {
            let preset = presets::named(name).unwrap();
            check_counts(&preset).unwrap();
            for (key, value) in serde_json::to_value(&preset).unwrap().as_object().unwrap() {
                assert!(!value.is_u64() || known.contains(&key.as_str()), "{key} has no range");
            }
        }
    }

    #[test]
    fn what_is_beyond_is_named_before_anything_is_made_of_it() {
        for (settings, told) in [
            (Settings { steps: Some(u64::MAX), ..Settings::default() }, "steps = 18446744073709551615"),
            (Settings { n_inner: Some(1 << 62), ..Settings::default() }, "n_inner = 4611686018427387904"),
            (Settings { n_embd: Some(1 << 61), ..Settings::default() }, "n_embd = 2305843009213693952"),
            (Settings { batch_size: Some(1_000_000_000_000), ..Settings::default() }, "1 to 4294967296"),
            (Settings { seed: Some(1 << 63), ..Settings::default() }, "seed = 9223372036854775808"),
            (Settings { eval_every: Some(0), ..Settings::default() }, "eval_every = 0"),
        ] {
            for error in [settings.resolve().unwrap_err(), settings.over(&Settings::default()).unwrap_err()] {
                assert!(error.to_string().contains(told), "{error}");
            }
        }
        // A file's number is wrong even where a flag goes before it.
        let [flag, file] = [1, 1 << 63].map(|steps| Settings { steps: Some(steps), ..Settings::default() });
        assert!(flag.over(&file).unwrap_err().to_string().contains("steps = 9223372036854775808"));
        let follows = Settings { n_kv_head: Some(0), n_inner: Some(0), ..Settings::default() };
        assert!(follows.resolve().is_ok());
    }
}
