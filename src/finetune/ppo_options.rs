//! The options of PPO and GRPO.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::objective::policy::Policy;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// With a value head, which estimates the expected reward
    #[default]
    Ppo,
    /// Without a value head: replies to the same prompt are compared with each other
    Grpo,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct PpoOptions {
    /// How advantages are computed
    #[arg(long, value_enum, default_value = "ppo", value_name = "NAME")]
    pub algorithm: Algorithm,
    /// Folder of a reward model [default: the program that grades answers about tales]
    #[arg(long, value_name = "DIR")]
    pub reward: Option<PathBuf>,
    /// Prompts per iteration
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub prompts: usize,
    /// Replies per prompt
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub samples: usize,
    /// Passes over the replies of an iteration
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub epochs: usize,
    /// Maximum number of tokens in a reply
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub max_tokens: usize,
    /// Sampling temperature
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub temperature: f32,
    /// Clip range of the probability ratio, and of values
    #[arg(long, default_value_t = 0.2, value_name = "X")]
    pub clip: f32,
    /// Discount factor per token
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub gamma: f64,
    /// λ of generalised advantage estimation: 1 uses rewards alone, 0 the value head alone
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub gae_lambda: f64,
    /// Weight of the value loss
    #[arg(long, default_value_t = 0.5, value_name = "X")]
    pub value_coefficient: f32,
    /// Weight of the entropy bonus
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub entropy_coefficient: f32,
    /// Initial KL coefficient, in reward standard deviations per nat; 0 turns the KL penalty off
    #[arg(long, default_value_t = 0.4, value_name = "X")]
    pub kl_coefficient: f32,
    /// Target KL divergence of a reply from the reference, in nats; the coefficient adapts to it (ppo)
    #[arg(long, default_value_t = 2.0, value_name = "X")]
    pub kl_target: f64,
    /// End an iteration early when the KL divergence from the policy that sampled the replies exceeds this, in nats per
    /// token
    #[arg(long, default_value_t = 0.1, value_name = "X")]
    pub kl_stop: f64,
}

impl Default for PpoOptions {
    fn default() -> Self {
        super::stage::defaults()
    }
}

impl PpoOptions {
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
}
