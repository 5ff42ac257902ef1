//! Reinforcement learning, PPO or GRPO: a model learns from rewards of its own replies.

use std::mem::take;
use std::path::{Path, PathBuf};

use super::sft;
use crate::engine::single::is_positive;
use crate::finetune::base::Base;
use crate::finetune::policy_source::PolicySource;
use crate::finetune::ppo_options::{Algorithm, PpoOptions};
use crate::finetune::questions::{Questions, TALES_PROMPTS};
use crate::finetune::report::Report;
use crate::finetune::rollout::{Prompt, REFERENCE, Rewards, RolloutWorker};
use crate::finetune::sft_dataset::SftDataset;
use crate::finetune::stage::{Context, Options, OptionsError, Setup, Stage};
use crate::run::config::TrainConfig;
use crate::run::settings::Settings;
use crate::text::corpus::TALES;
use crate::train::source::Source;

/// The most of anything that an iteration has.
const MOST: usize = 1_000_000;
/// The greatest weight or temperature.
const GREATEST: f64 = 1e6;

/// Replies of an iteration make whole steps.
fn check_steps(options: &PpoOptions, config: &TrainConfig) -> Result<(), OptionsError> {
    let (replies, step) = (options.prompts.saturating_mul(options.samples), config.examples_per_step());
    if replies.is_multiple_of(step) {
        return Ok(());
    }
    Err(OptionsError::Steps { replies, prompts: options.prompts, samples: options.samples, step })
}

/// The most tokens of a prompt with its reply.
fn time(most: usize, name: &str, prompts: &[Prompt], block_size: usize) -> Result<usize, OptionsError> {
    let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max();
    let tokens = longest.ok_or_else(|| OptionsError::NoPrompts(name.to_owned()))?;
    let time = tokens.saturating_add(most);
    if time > block_size {
        let name = name.to_owned();
        return Err(OptionsError::TooLong { name, tokens, most, block_size });
    }
    Ok(time)
}

impl Options for PpoOptions {
    fn name(&self) -> &'static str {
        "ppo"
    }

    fn check(&self) -> Result<(), OptionsError> {
        let counts = [
            ("--prompts", self.prompts),
            ("--samples", self.samples),
            ("--epochs", self.epochs),
            ("--max-tokens", self.max_tokens),
        ];
        for (flag, count) in counts {
            OptionsError::unless((1..=MOST).contains(&count), flag, count, format!("1 to {MOST}"))?;
        }
        if self.algorithm == Algorithm::Grpo && self.samples < 2 {
            return Err(OptionsError::Alone);
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
            OptionsError::unless(is_good(value), name, value, range)?;
        }
        Ok(())
    }

    fn defaults(&self, _data: Option<&str>) -> Settings {
        Settings {
            steps: Some(320),
            batch_size: Some(16),
            dropout: Some(0.0),
            learning_rate: Some(2e-4),
            warmup_steps: Some(10),
            save_every: Some(100),
            ..sft::defaults()
        }
    }

    fn path(&mut self) -> Option<(&'static str, &mut PathBuf)> {
        self.reward.as_mut().map(|path| ("reward", path))
    }

    /// The reference is the base, not the model in training.
    fn needs_base(&self) -> bool {
        true
    }

    fn uses_device(&self) -> bool {
        true
    }

    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>> {
        check_steps(self, &setup.config)?;
        let (prompts, questions) = if data == TALES {
            let asked = Questions::for_training(TALES_PROMPTS, &setup.tokenizer)?;
            (asked.prompts(), Questions::held_out(setup.held_out, &setup.tokenizer)?)
        } else if self.reward.is_none() {
            return Err(OptionsError::NoReward.into());
        } else {
            let SftDataset { train, held_out, .. } = SftDataset::of_file(Path::new(data), &setup.tokenizer)?;
            (Prompt::of_conversations(train.iter().chain(&held_out.examples)), Questions::default())
        };
        let (name, time) =
            (data.to_owned(), time(self.max_tokens, data, &prompts, setup.config.model.block_size)?);
        Ok(Box::new(Ppo { options: self.clone(), name, prompts, time, questions }))
    }
}

struct Ppo {
    options: PpoOptions,
    name: String,
    prompts: Vec<Prompt>,
    /// The most tokens of a prompt with its reply.
    time: usize,
    questions: Questions,
}

impl Stage for Ppo {
    fn tokens(&self) -> [usize; 2] {
        [self.prompts.iter().map(|prompt| prompt.tokens.len()).sum(), self.questions.tokens()]
    }

    fn source(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Box<dyn Source>> {
        let Setup { config, model, tokenizer, .. } = setup;
        let mut opened = match &self.options.reward {
            Some(folder) if context.reward.is_none() => {
                Some(Base::open_reward(folder, tokenizer).map_err(OptionsError::RewardModel)?)
            }
            _ => None,
        };
        let rewards = match context.reward.as_deref_mut().or(opened.as_mut()) {
            // A reply that did not end is given its end.
            Some(reward) => {
                Rewards::Model(reward.scorer(context.device, [self.options.samples, self.time + 1])?)
            }
            None => Rewards::Tales,
        };
        let PpoOptions { temperature, max_tokens, .. } = self.options;
        let has_values = self.options.objective().value.is_some();
        let sizes = [self.time, max_tokens];
        let device = &mut *context.device;
        let worker = RolloutWorker::new(device, model, tokenizer, rewards, has_values, temperature, sizes)?;
        if let Some(base) = context.base.as_deref_mut().filter(|_| !model.lora.is_on()) {
            base.write_under(REFERENCE, device, worker.reference().parameters(), config.seed)?;
        }
        let (prompts, options) = (take(&mut self.prompts), self.options.clone());
        Ok(Box::new(PolicySource::new(&self.name, options, prompts, worker, self.time, config)))
    }

    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report> {
        self.questions.evaluate(setup, None, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_named() {
        let config = crate::run::presets::named("mini").unwrap();
        let complaint = |options: PpoOptions| {
            options.check().and_then(|()| check_steps(&options, &config)).unwrap_err().to_string()
        };
        let options = PpoOptions { prompts: 6, samples: 2, ..PpoOptions::default() };
        options.check().and_then(|()| check_steps(&options, &config)).unwrap();
        let odd = complaint(PpoOptions { prompts: 5, ..options.clone() });
        assert!(odd.contains("10 replies") && odd.contains("12"), "{odd}");
        let alone = PpoOptions { prompts: 12, samples: 1, algorithm: Algorithm::Grpo, ..options.clone() };
        assert!(complaint(alone).contains("--samples 2"));
        assert!(complaint(PpoOptions { epochs: 0, ..options.clone() }).contains("--epochs"));
        assert!(complaint(PpoOptions { temperature: f32::NAN, ..options.clone() }).contains("--temperature"));
        // 1 + 1e-9 is 1 in 32 bits: no ratio could move.
        assert!(complaint(PpoOptions { clip: 1e-9, ..options.clone() }).contains("--clip"));
        assert!(complaint(PpoOptions { kl_target: 1e-50, ..options }).contains("--kl-target"));
    }
}
