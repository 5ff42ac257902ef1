//! The stages of fine-tuning, one file each.

pub mod constitution;
pub mod dpo;
pub mod ppo;
pub mod reward;
pub mod sft;

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::constitution::ConstitutionOptions;
use self::dpo::DpoOptions;
use self::reward::RewardOptions;
use self::sft::SftOptions;
use super::ppo_options::PpoOptions;
use super::stage::Options;
use crate::run::resume::Difference;

/// A stage by its options, as `finetune.toml` records it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Method {
    Sft(SftOptions),
    Reward(RewardOptions),
    Dpo(DpoOptions),
    Ppo(PpoOptions),
    Constitution(ConstitutionOptions),
}

impl Deref for Method {
    type Target = dyn Options;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Sft(options) => options,
            Self::Reward(options) => options,
            Self::Dpo(options) => options,
            Self::Ppo(options) => options,
            Self::Constitution(options) => options,
        }
    }
}

impl DerefMut for Method {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Sft(options) => options,
            Self::Reward(options) => options,
            Self::Dpo(options) => options,
            Self::Ppo(options) => options,
            Self::Constitution(options) => options,
        }
    }
}

impl Method {
    /// Every stage with its default options.
    pub fn all() -> [Self; 5] {
        [
            Self::Sft(SftOptions::default()),
            Self::Reward(RewardOptions::default()),
            Self::Dpo(DpoOptions::default()),
            Self::Ppo(PpoOptions::default()),
            Self::Constitution(ConstitutionOptions::default()),
        ]
    }

    /// The options that were `given` and differ from these. A path is not compared: what it names is, by its content.
    pub fn differences(&self, asked: &Self, given: &BTreeSet<String>) -> Vec<Difference> {
        let table =
            |method: &Self| Table::try_from(method).expect("words, paths and numbers under fixed keys");
        let (has, asked) = (table(self), table(asked));
        let path = self.clone().path().map(|(key, _)| key);
        let differs = |key: &str, value: &Value| {
            given.contains(key) && path != Some(key) && has.get(key) != Some(value)
        };
        let differing = asked.iter().filter(|(key, value)| differs(key, value));
        differing.map(|(key, value)| Difference::new(key, value, has.get(key))).collect()
    }
}
