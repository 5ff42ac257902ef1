//! Reinforcement learning from what a model's own replies are worth (Ziegler et al. 2019; Ouyang et al. 2022): PPO,
//! and GRPO, its variant without a value head (Shao et al. 2024).
//!
//! An iteration rolls out replies to some prompts with the model as it is, judges them, and learns from them for a
//! few epochs. What a token gains over what was expected of it, its advantage, is in PPO a sum of later rewards by
//! generalised advantage estimation (Schulman et al. 2016), each token paying for its divergence from the reference:
//!
//! - r_t = −β (ln π(t) − ln π_ref(t)), and the reply's reward is added at its last token
//! - δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γ λ A_{t+1}, returns A_t + V_t
//!
//! and in GRPO (R − mean R) / std R over the replies to one prompt, for all tokens alike, the divergence being part
//! of the loss. β is adapted so that the divergence of a reply stays near a target (Ziegler et al. 2019, eq. 4).

use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::epochs::examples_of_step;
use super::policy_options::{Algorithm, PolicyOptions};
use super::rollout::{Prompt, Roller, Rollout};
use crate::engine::device::Device;
use crate::objective::Objective;
use crate::objective::policy::KL_COEFFICIENT;
use crate::run::config::TrainConfig;
use crate::text::dataset::{Purpose, Split, shuffle};
use crate::train::source::{Batch, Measures, REWARD, Source, SourceError};

/// How far β moves with the relative distance from the target, and the most of that distance that counts.
const KL_GAIN: f64 = 0.5;
const KL_FAR: f64 = 0.2;

/// Replies with what each of their tokens gained.
#[derive(Clone, Debug)]
struct Experience {
    rollout: Rollout,
    advantages: Vec<f32>,
    returns: Vec<f32>,
}

/// The replies of an iteration, and the steps that learn from them.
#[derive(Clone, Debug, Default)]
struct Iteration {
    experience: Vec<Experience>,
    first: u64,
    end: u64,
    measures: Measures,
}

/// Prompts to reply to, and the policy's experience with them.
pub struct PolicySource {
    name: String,
    options: PolicyOptions,
    prompts: Vec<Prompt>,
    roller: Roller,
    time: usize,
    seed: u64,
    batch_size: usize,
    n_micro: usize,
    iteration: Iteration,
    /// The policy has moved too far from when it spoke.
    has_strayed: Cell<bool>,
}

impl PolicySource {
    /// A policy that learns to reply to `prompts`; `time` is what [`PolicyOptions::time`] says of them.
    pub fn new(
        name: &str,
        options: PolicyOptions,
        prompts: Vec<Prompt>,
        roller: Roller,
        time: usize,
        config: &TrainConfig,
    ) -> Self {
        Self {
            name: name.to_owned(),
            options,
            prompts,
            roller,
            time,
            seed: config.seed,
            batch_size: config.batch_size,
            n_micro: config.grad_accum,
            iteration: Iteration::default(),
            has_strayed: Cell::new(false),
        }
    }

    /// Of each reply what its tokens gained, before [whitening](whiten).
    fn experience(&self, rollouts: Vec<Rollout>, kl_coefficient: f64) -> Vec<Experience> {
        match self.options.algorithm {
            Algorithm::Ppo => {
                let learn = |rollout: Rollout| {
                    let (advantages, returns) = gae(&rollout, kl_coefficient, &self.options);
                    Experience { rollout, advantages, returns }
                };
                let mut experience: Vec<Experience> = rollouts.into_iter().map(learn).collect();
                whiten(&mut experience);
                experience
            }
            Algorithm::Grpo => rollouts.chunks(self.options.samples).flat_map(in_group).collect(),
        }
    }

    /// The replies of a micro-step.
    fn of_micro(&self, step: u64, micro: u64) -> Vec<&Experience> {
        let all = &self.iteration.experience;
        let size = self.batch_size * self.n_micro;
        let seed = self.seed ^ self.iteration.first;
        let of_step = examples_of_step(all.len(), size, step - self.iteration.first, seed);
        of_step[micro as usize * self.batch_size..][..self.batch_size].iter().map(|&at| &all[at]).collect()
    }
}

/// Advantages and returns of a reply's tokens.
fn gae(rollout: &Rollout, kl_coefficient: f64, options: &PolicyOptions) -> (Vec<f32>, Vec<f32>) {
    let n = rollout.old.len();
    let (mut advantages, mut returns) = (vec![0.0; n], vec![0.0; n]);
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..n).rev() {
        let divergence = f64::from(rollout.reference[t] - rollout.old[t]);
        let earned = if t + 1 == n { rollout.reward } else { 0.0 };
        let value = f64::from(rollout.values[t]);
        let delta = earned - kl_coefficient * divergence + options.gamma * next_value - value;
        next_advantage = delta + options.gamma * options.gae_lambda * next_advantage;
        next_value = value;
        advantages[t] = next_advantage as f32;
        returns[t] = (next_advantage + value) as f32;
    }
    (advantages, returns)
}

/// Advantages of all tokens of an iteration at mean 0 and deviation 1.
fn whiten(experience: &mut [Experience]) {
    let all: Vec<f64> = experience.iter().flat_map(|e| &e.advantages).map(|&a| f64::from(a)).collect();
    let (mean, deviation) = moments(&all);
    for advantage in experience.iter_mut().flat_map(|e| &mut e.advantages) {
        *advantage = ((f64::from(*advantage) - mean) / (deviation + 1e-8)) as f32;
    }
}

/// Advantages of replies to one prompt.
fn in_group(group: &[Rollout]) -> Vec<Experience> {
    let rewards: Vec<f64> = group.iter().map(|rollout| rollout.reward).collect();
    let (mean, deviation) = moments(&rewards);
    let learn = |rollout: &Rollout| {
        let advantage = (rollout.reward - mean) / (deviation + 1e-4);
        let advantages = vec![advantage as f32; rollout.old.len()];
        Experience { rollout: rollout.clone(), advantages, returns: Vec::new() }
    };
    group.iter().map(learn).collect()
}

/// Mean and standard deviation.
fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len().max(1) as f64;
    let mean = x.iter().sum::<f64>() / n;
    (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// What a nat of divergence is to cost next, where `kl` was that of a reply on average.
fn adapted(kl_coefficient: f64, kl: f64, target: f64) -> f64 {
    kl_coefficient * (1.0 + KL_GAIN * (kl / target - 1.0).clamp(-KL_FAR, KL_FAR))
}

impl Source for PolicySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, _split: Split, _purpose: Purpose, step: u64, micro: u64) -> Batch {
        let chosen = self.of_micro(step, micro);
        let most = self.options.max_tokens;
        let said: usize = chosen.iter().map(|experience| experience.rollout.old.len()).sum();
        let mut tokens = vec![0; chosen.len() * self.time];
        let [mut places, mut targets] = [(); 2].map(|()| vec![0; chosen.len() * most]);
        let [mut weights, mut old, mut advantages, mut reference, mut returns, mut values] =
            [(); 6].map(|()| vec![0.0; chosen.len() * most]);
        for (row, Experience { rollout, advantages: gained, returns: returned }) in chosen.iter().enumerate()
        {
            let first = row * self.time;
            tokens[first..][..rollout.tokens.len()].copy_from_slice(&rollout.tokens);
            let (reply, slots) = (&rollout.tokens[rollout.prompt..], row * most..);
            for ((slot, &target), at) in slots.zip(reply).zip(first + rollout.prompt - 1..) {
                (places[slot], targets[slot]) = (at as u32, target);
            }
            let put = |to: &mut Vec<f32>, from: &[f32]| to[row * most..][..from.len()].copy_from_slice(from);
            put(&mut weights, &vec![1.0 / said as f32; rollout.old.len()]);
            put(&mut old, &rollout.old);
            put(&mut reference, &rollout.reference);
            put(&mut values, &rollout.values);
            put(&mut advantages, gained);
            put(&mut returns, returned);
        }
        let mut others = vec![("old", old), ("advantages", advantages)];
        let objective = self.options.objective();
        if objective.kl != 0.0 {
            others.push(("reference", reference));
        }
        if objective.value.is_some() {
            others.extend([("returns", returns), ("old_values", values)]);
        }
        Batch { tokens, targets, weights, places: Some(places), segments: None, others }
    }

    fn prompt(&self) -> &[u32] {
        self.prompts.first().map_or(&[], |prompt| &prompt.tokens)
    }

    fn objective(&self) -> Objective {
        Objective::Policy(self.options.objective())
    }

    fn time(&self) -> Option<usize> {
        Some(self.time)
    }

    fn places(&self) -> Option<usize> {
        Some(self.batch_size * self.options.max_tokens)
    }

    fn is_estimated(&self) -> bool {
        false
    }

    fn is_due(&self, step: u64) -> bool {
        self.iteration.experience.is_empty() || step >= self.iteration.end || self.has_strayed.get()
    }

    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&mut self, device: &mut dyn Device, step: u64) -> Result<(), SourceError> {
        let PolicyOptions { prompts, samples, epochs, .. } = self.options;
        let mut order: Vec<usize> = (0..self.prompts.len()).collect();
        shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(step)));
        let chosen: Vec<&Prompt> = order.iter().cycle().take(prompts).map(|&at| &self.prompts[at]).collect();
        let seed = self.seed.rotate_left(32) ^ step;
        let rollouts = self.roller.roll(device, &chosen, samples, seed)?;

        let kl_coefficient = f64::from(device.read(KL_COEFFICIENT)?[0]);
        let rewards: Vec<f64> = rollouts.iter().map(|rollout| rollout.reward).collect();
        let kl = rollouts.iter().map(Rollout::kl).sum::<f64>() / rollouts.len() as f64;
        let (reward, spread) = moments(&rewards);
        let length =
            rollouts.iter().map(|rollout| rollout.old.len()).sum::<usize>() as f64 / rollouts.len() as f64;
        let mut measures = vec![(REWARD, reward), ("reward_std", spread), ("kl", kl), ("length", length)];
        if self.options.algorithm == Algorithm::Ppo {
            measures.push(("kl_coefficient", kl_coefficient));
            let adapted = adapted(kl_coefficient, kl, self.options.kl_target);
            device.write(KL_COEFFICIENT, &[adapted as f32])?;
        }
        let steps = epochs * rollouts.len() / (self.batch_size * self.n_micro);
        let experience = self.experience(rollouts, kl_coefficient);
        self.iteration = Iteration { experience, first: step, end: step + steps as u64, measures };
        self.has_strayed.set(false);
        Ok(())
    }

    /// Of the iteration: `reward` and its deviation, `kl` from the reference and `length` of a reply, and what a nat of
    /// it cost. Of the step: the divergence since the replies were rolled out, how many tokens were held by clipping, the
    /// entropy where there is a bonus for it, and how much of the returns' variance the value head explains.
    fn measures(&self, batch: &Batch, outputs: &[Vec<f32>]) -> Measures {
        let mut measures = self.iteration.measures.clone();
        let of = |name: &str| batch.others.iter().find(|(other, _)| *other == name).map(|(_, x)| x);
        let (Some(nll), Some(old)) = (outputs.first(), of("old")) else { return measures };
        let mean = |f: &dyn Fn(usize) -> f64| -> f64 {
            let said = batch.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
            said.map(|(i, &weight)| f64::from(weight) * f(i)).sum()
        };
        let log_ratio = |i: usize| f64::from(old[i] - nll[i]);
        let strayed = mean(&|i| log_ratio(i).exp() - 1.0 - log_ratio(i));
        let clip = f64::from(self.options.clip);
        let held = mean(&|i| f64::from(u8::from((log_ratio(i).exp() - 1.0).abs() > clip)));
        if strayed > self.options.kl_stop {
            self.has_strayed.set(true);
        }
        measures.extend([("step_kl", strayed), ("clip_fraction", held)]);
        let coefficient = f64::from(self.options.entropy_coefficient);
        if let Some(bonus) = outputs.get(1).filter(|_| coefficient > 0.0) {
            measures.push(("entropy", f64::from(-bonus[0]) / coefficient));
        }
        if let (Some(returns), Some(values)) = (of("returns"), of("old_values")) {
            let expected = mean(&|i| returns[i].into());
            let variance = mean(&|i| (f64::from(returns[i]) - expected).powi(2));
            let error = mean(&|i| f64::from(returns[i] - values[i]));
            let left = mean(&|i| (f64::from(returns[i] - values[i]) - error).powi(2));
            measures.push(("explained_variance", 1.0 - left / variance.max(1e-12)));
        }
        measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(old: &[f32], reference: &[f32], values: &[f32], reward: f64) -> Rollout {
        let [old, reference, values] = [old, reference, values].map(<[f32]>::to_vec);
        Rollout { old, reference, values, reward, ..Rollout::default() }
    }

    /// γ = 0.5, λ = 0.5, β = 0.1; divergences 1 and −2, so rewards −0.1 and 0.2 + 3.
    /// δ₁ = 3.2 − 2 = 1.2; δ₀ = −0.1 + 0.5 · 2 − 1 = −0.1; A₀ = −0.1 + 0.25 · 1.2 = 0.2.
    #[test]
    fn advantages_by_hand() {
        let options = PolicyOptions { gamma: 0.5, gae_lambda: 0.5, ..PolicyOptions::default() };
        let rollout = rollout(&[1.0, 4.0], &[2.0, 2.0], &[1.0, 2.0], 3.0);
        let (advantages, returns) = gae(&rollout, 0.1, &options);
        let near = |got: &[f32], want: [f32; 2]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&advantages, [0.2, 1.2]), "{advantages:?}");
        assert!(near(&returns, [1.2, 3.2]), "{returns:?}");
        assert_eq!(rollout.kl(), -1.0);
    }

    /// Rewards 1, 3: mean 2, deviation 1.
    #[test]
    fn groups_are_compared_within_themselves() {
        let group = [1.0, 3.0].map(|reward| rollout(&[0.0; 3], &[0.0; 3], &[], reward));
        let gained: Vec<Vec<f32>> = in_group(&group).into_iter().map(|e| e.advantages).collect();
        assert!(gained[0].iter().all(|a| (a + 1.0).abs() < 1e-3) && gained[0].len() == 3);
        assert!(gained[1].iter().all(|a| (a - 1.0).abs() < 1e-3));
        let same = [2.0, 2.0].map(|reward| rollout(&[0.0], &[0.0], &[], reward));
        assert!(in_group(&same).iter().all(|e| e.advantages == [0.0]));
    }

    #[test]
    fn whitened_advantages_have_mean_0_and_deviation_1() {
        let bare = |advantages: Vec<f32>| Experience {
            rollout: Rollout::default(),
            advantages,
            returns: Vec::new(),
        };
        let mut experience = [bare(vec![1.0, 2.0]), bare(vec![3.0, 4.0])];
        whiten(&mut experience);
        let all: Vec<f32> = experience.iter().flat_map(|e| e.advantages.clone()).collect();
        // Deviation √1.25.
        for (got, want) in all.iter().zip([-1.5, -0.5, 0.5, 1.5]) {
            assert!((got - want / 1.25f32.sqrt()).abs() < 1e-6, "{all:?}");
        }
    }

    #[test]
    fn divergence_costs_more_beyond_the_target_and_less_below() {
        assert_eq!(adapted(1.0, 2.0, 2.0), 1.0);
        assert_eq!(adapted(1.0, 20.0, 2.0), 1.1);
        assert_eq!(adapted(1.0, 0.0, 2.0), 0.9);
        assert!((adapted(1.0, 2.2, 2.0) - 1.05).abs() < 1e-12);
    }
}
