//! How a policy learns from rewards: what a run of `finetune ppo` is asked for, and writes down to be continued.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::rollout::Prompt;
use crate::engine::single::is_positive;
use crate::objective::policy::Policy;
use crate::run::config::TrainConfig;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// With a value head that says what is to be expected
    #[default]
    Ppo,
    /// Comparing replies to the same prompt with each other
    Grpo,
}

/// How a policy learns from rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct PolicyOptions {
    /// How advantages are found
    #[arg(long, value_enum, default_value = "ppo", value_name = "NAME")]
    pub algorithm: Algorithm,
    /// The folder of a reward model [default: the program that judges answers about tales]
    #[arg(long, value_name = "DIR")]
    pub reward: Option<std::path::PathBuf>,
    /// Prompts of an iteration
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub prompts: usize,
    /// Replies to each of them
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub samples: usize,
    /// How often an iteration's replies are learned from
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub epochs: usize,
    /// The most tokens of a reply
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub max_tokens: usize,
    /// At which replies are drawn
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub temperature: f32,
    /// How far the probability of a token may move for gain within an iteration
    #[arg(long, default_value_t = 0.2, value_name = "X")]
    pub clip: f32,
    /// What a reward loses for each token that it comes later
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub gamma: f64,
    /// How far advantages look ahead; 1 trusts rewards alone, 0 the value head
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub gae_lambda: f64,
    /// The weight of the value head's loss
    #[arg(long, default_value_t = 0.5, value_name = "X")]
    pub value_coefficient: f32,
    /// The weight of a bonus for being undecided
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub entropy_coefficient: f32,
    /// What a nat of divergence from the model at the start costs, at first, in deviations of rewards; 0 for nothing at all
    #[arg(long, default_value_t = 0.4, value_name = "X")]
    pub kl_coefficient: f32,
    /// The divergence of a reply, in nats, that the cost is adapted to; for ppo
    #[arg(long, default_value_t = 2.0, value_name = "X")]
    pub kl_target: f64,
    /// The divergence of a token from when it was said, in nats, at which an iteration ends early
    #[arg(long, default_value_t = 0.1, value_name = "X")]
    pub kl_stop: f64,
}

impl Default for PolicyOptions {
    /// As on the command line where nothing is given.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Ppo,
            reward: None,
            prompts: 16,
            samples: 4,
            epochs: 2,
            max_tokens: 40,
            temperature: 1.0,
            clip: 0.2,
            gamma: 1.0,
            gae_lambda: 1.0,
            value_coefficient: 0.5,
            entropy_coefficient: 0.0,
            kl_coefficient: 0.4,
            kl_target: 2.0,
            kl_stop: 0.1,
        }
    }
}

/// The most of anything that an iteration has.
const MOST: usize = 1_000_000;
/// The greatest weight or temperature.
const GREATEST: f64 = 1e6;

/// Options that make no sense together.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum OptionsError {
    #[error("{name} = {count} is outside its range: 1 to {MOST}")]
    Count { name: &'static str, count: usize },
    #[error("grpo compares replies to the same prompt: give --samples 2 or more")]
    Alone,
    #[error(
        "{replies} replies of an iteration ({prompts} --prompts × {samples} --samples) do not make whole steps of \
         {step} (--batch-size × --grad-accum)"
    )]
    Steps { replies: usize, prompts: usize, samples: usize, step: usize },
    #[error("{name} = {value} is outside its range: {range}")]
    Range { name: &'static str, value: f64, range: &'static str },
    #[error("there are no prompts in {0}")]
    NoPrompts(String),
    #[error(
        "a prompt of {name} has {tokens} tokens, and with --max-tokens {most} for the reply a block of {block_size} \
         does not hold it: shorten it, or lower --max-tokens"
    )]
    TooLong { name: String, tokens: usize, most: usize, block_size: usize },
}

impl PolicyOptions {
    /// # Errors
    /// When a number is outside its range.
    pub fn check_ranges(&self) -> Result<(), OptionsError> {
        let counts = [
            ("--prompts", self.prompts),
            ("--samples", self.samples),
            ("--epochs", self.epochs),
            ("--max-tokens", self.max_tokens),
        ];
        if let Some((name, count)) = counts.into_iter().find(|(_, count)| !(1..=MOST).contains(count)) {
            return Err(OptionsError::Count { name, count });
        }
        let positive = |x: f64| is_positive(x) && x <= GREATEST;
        let not_negative = |x: f64| (0.0..=GREATEST).contains(&x);
        let share = |x: f64| (0.0..=1.0).contains(&x);
        // Ratios are held between 1 ± clip.
        let clip = |x: f64| 1.0 + x as f32 > 1.0 && x <= GREATEST;
        for (name, value, is_good, range) in [
            ("--temperature", f64::from(self.temperature), positive as fn(f64) -> bool, "above 0, up to 1e6"),
            ("--clip", self.clip.into(), clip, "1.2e-7, the least that 1 can grow by, to 1e6"),
            ("--gamma", self.gamma, share, "0 to 1"),
            ("--gae-lambda", self.gae_lambda, share, "0 to 1"),
            ("--value-coefficient", self.value_coefficient.into(), not_negative, "0 to 1e6"),
            ("--entropy-coefficient", self.entropy_coefficient.into(), not_negative, "0 to 1e6"),
            ("--kl-coefficient", self.kl_coefficient.into(), not_negative, "0 to 1e6"),
            ("--kl-target", self.kl_target, positive, "above 0, up to 1e6"),
            ("--kl-stop", self.kl_stop, positive, "above 0, up to 1e6"),
        ] {
            if !is_good(value) {
                return Err(OptionsError::Range { name, value, range });
            }
        }
        Ok(())
    }

    /// # Errors
    /// When a number is outside its range, or an iteration is no whole number of steps.
    pub fn check(&self, config: &TrainConfig) -> Result<(), OptionsError> {
        self.check_ranges()?;
        if self.algorithm == Algorithm::Grpo && self.samples < 2 {
            return Err(OptionsError::Alone);
        }
        let (replies, step) = (self.prompts.saturating_mul(self.samples), config.examples_per_step());
        if !replies.is_multiple_of(step) {
            return Err(OptionsError::Steps { replies, prompts: self.prompts, samples: self.samples, step });
        }
        Ok(())
    }

    /// The loss of the policy.
    pub fn objective(&self) -> Policy {
        let is_ppo = self.algorithm == Algorithm::Ppo;
        Policy {
            clip: self.clip,
            kl: if is_ppo { 0.0 } else { self.kl_coefficient },
            reward_kl: if is_ppo { self.kl_coefficient } else { 0.0 },
            value: is_ppo.then_some(self.value_coefficient),
            entropy: self.entropy_coefficient,
        }
    }

    /// The most tokens of a prompt with its reply.
    ///
    /// # Errors
    /// When there is no prompt, or a block does not hold one.
    pub fn time(&self, name: &str, prompts: &[Prompt], block_size: usize) -> Result<usize, OptionsError> {
        let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max();
        let tokens = longest.ok_or_else(|| OptionsError::NoPrompts(name.to_owned()))?;
        let time = tokens.saturating_add(self.max_tokens);
        if time > block_size {
            let (name, most) = (name.to_owned(), self.max_tokens);
            return Err(OptionsError::TooLong { name, tokens, most, block_size });
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_named() {
        let config = crate::run::presets::named("mini").unwrap();
        let complaint = |options: PolicyOptions| options.check(&config).unwrap_err().to_string();
        let options = PolicyOptions { prompts: 6, samples: 2, ..PolicyOptions::default() };
        assert_eq!(options.check(&config), Ok(()));
        let odd = complaint(PolicyOptions { prompts: 5, ..options.clone() });
        assert!(odd.contains("10 replies") && odd.contains("12"), "{odd}");
        let alone = PolicyOptions { prompts: 12, samples: 1, algorithm: Algorithm::Grpo, ..options.clone() };
        assert!(complaint(alone).contains("--samples 2"));
        assert!(complaint(PolicyOptions { epochs: 0, ..options.clone() }).contains("--epochs"));
        assert!(
            complaint(PolicyOptions { temperature: f32::NAN, ..options.clone() }).contains("--temperature")
        );
        // 1 + 1e-9 is 1 in 32 bits: no ratio could move.
        assert!(complaint(PolicyOptions { clip: 1e-9, ..options.clone() }).contains("--clip"));
        assert!(complaint(PolicyOptions { kl_target: 1e-50, ..options }).contains("--kl-target"));
    }
}
