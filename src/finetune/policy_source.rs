//! Reinforcement learning from rewards of a model's own replies (Ziegler et al. 2019; Ouyang et al. 2022): PPO,
//! and GRPO, its variant without a value head (Shao et al. 2024).
//!
//! An iteration rolls out replies to some prompts with the current model, scores them, and learns from them for a
//! few epochs by their tokens' [advantages](super::advantages). PPO standardises rewards by the mean and
//! standard deviation of the first replies: a reward model has units of its own, and the KL coefficient and the clip
//! range of values do not know them. The KL coefficient adapts so that the divergence of a reply stays near a target
//! (Ziegler et al. 2019, eq. 4).

use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::advantages::{Experience, explained_variance, gae, in_group, moments, whiten};
use super::examples::examples_of_step;
use super::ppo_options::{Algorithm, PpoOptions};
use super::rollout::{Prompt, Rollout, RolloutWorker};
use crate::engine::device::{Device, DeviceError};
use crate::objective::inputs::Input;
use crate::objective::policy::{KL_COEFFICIENT, REWARD_MOMENTS};
use crate::objective::{BatchShape, Objective};
use crate::run::config::TrainConfig;
use crate::text::dataset::{Purpose, Split, shuffle};
use crate::train::source::{Batch, Measures, REWARD, Source, SourceError};

/// How far β moves with the relative distance from the target, and the most of that distance that counts.
const KL_GAIN: f64 = 0.5;
const KL_FAR: f64 = 0.2;

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
    options: PpoOptions,
    prompts: Vec<Prompt>,
    worker: RolloutWorker,
    time: usize,
    seed: u64,
    batch_size: usize,
    n_micro: usize,
    iteration: Iteration,
    /// The policy has moved too far since it sampled the replies.
    has_strayed: Cell<bool>,
}

impl PolicySource {
    /// A policy that learns to reply to `prompts`; `time` is the most tokens of one with its reply.
    pub fn new(
        name: &str,
        options: PpoOptions,
        prompts: Vec<Prompt>,
        worker: RolloutWorker,
        time: usize,
        config: &TrainConfig,
    ) -> Self {
        Self {
            name: name.to_owned(),
            options,
            prompts,
            worker,
            time,
            seed: config.seed,
            batch_size: config.batch_size,
            n_micro: config.grad_accum,
            iteration: Iteration::default(),
            has_strayed: Cell::new(false),
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

/// The mean and standard deviation that standardise rewards: those of the first replies of a run whose rewards are not
/// all equal. `now` are those of the latest replies.
fn reward_moments(device: &mut dyn Device, now: [f64; 2]) -> Result<[f64; 2], DeviceError> {
    if let [mean, deviation] = device.read(REWARD_MOMENTS)?[..]
        && deviation > 0.0
    {
        return Ok([mean, deviation].map(f64::from));
    }
    let [mean, deviation] = now.map(|moment| moment as f32);
    if deviation == 0.0 {
        return Ok([now[0], 1.0]);
    }
    device.write(REWARD_MOMENTS, &[mean, deviation])?;
    // Later calls read them in single precision.
    Ok([mean, deviation].map(f64::from))
}

/// The next KL coefficient, after replies with a mean divergence of `kl`.
fn adapted(kl_coefficient: f64, kl: f64, target: f64) -> f64 {
    kl_coefficient * (1.0 + KL_GAIN * (kl / target - 1.0).clamp(-KL_FAR, KL_FAR))
}

impl Source for PolicySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch(&self, _: Split, _: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError> {
        let chosen = self.of_micro(step, micro);
        let most = self.options.max_tokens;
        let said: usize = chosen.iter().map(|experience| experience.rollout.old.len()).sum();
        let shape = BatchShape { sequences: chosen.len(), predictions: chosen.len() * most };
        let mut batch = Batch::zeros(&self.objective(), shape, self.time);
        let mut places = vec![0; shape.predictions];
        for (row, Experience { rollout, advantages, returns }) in chosen.iter().enumerate() {
            let (first, slots) = (row * self.time, row * most);
            batch.tokens[first..][..rollout.tokens.len()].copy_from_slice(&rollout.tokens);
            let reply = &rollout.tokens[rollout.prompt..];
            for ((slot, &target), at) in (slots..).zip(reply).zip(first + rollout.prompt - 1..) {
                (places[slot], batch.targets[slot]) = (at as u32, target);
            }
            batch.weights[slots..][..rollout.old.len()].fill(1.0 / said as f32);
            for (input, numbers) in [
                (Input::OldNll, &rollout.old),
                (Input::ReferenceNll, &rollout.reference),
                (Input::OldValues, &rollout.values),
                (Input::Advantages, advantages),
                (Input::Returns, returns),
            ] {
                batch.put(input, slots, numbers);
            }
        }
        Ok(Batch { places: Some(places), ..batch })
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
        let PpoOptions { prompts, samples, epochs, .. } = self.options;
        let mut order: Vec<usize> = (0..self.prompts.len()).collect();
        shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(step)));
        let chosen: Vec<&Prompt> = order.iter().cycle().take(prompts).map(|&at| &self.prompts[at]).collect();
        let seed = self.seed.rotate_left(32) ^ step;
        let rollouts = self.worker.rollouts(device, &chosen, samples, seed)?;

        let kl_coefficient = f64::from(device.read(KL_COEFFICIENT)?[0]);
        let rewards: Vec<f64> = rollouts.iter().map(|rollout| rollout.reward).collect();
        let kl = rollouts.iter().map(Rollout::kl).sum::<f64>() / rollouts.len() as f64;
        let [reward, spread] = moments(&rewards);
        let length =
            rollouts.iter().map(|rollout| rollout.old.len()).sum::<usize>() as f64 / rollouts.len() as f64;
        let mut measures = vec![(REWARD, reward), ("reward_std", spread), ("kl", kl), ("length", length)];
        let steps = epochs * rollouts.len() / (self.batch_size * self.n_micro);
        let experience = match self.options.algorithm {
            Algorithm::Ppo => {
                let moments = reward_moments(device, [reward, spread])?;
                let learn = |rollout: Rollout| {
                    let (advantages, returns) = gae(&rollout, moments, kl_coefficient, &self.options);
                    Experience { rollout, advantages, returns }
                };
                let mut experience: Vec<Experience> = rollouts.into_iter().map(learn).collect();
                measures.push(("explained_variance", explained_variance(&experience)));
                measures.push(("kl_coefficient", kl_coefficient));
                whiten(&mut experience);
                let adapted = adapted(kl_coefficient, kl, self.options.kl_target);
                device.write(KL_COEFFICIENT, &[adapted as f32])?;
                experience
            }
            Algorithm::Grpo => rollouts.chunks(samples).flat_map(in_group).collect(),
        };
        self.iteration = Iteration { experience, first: step, end: step + steps as u64, measures };
        self.has_strayed.set(false);
        Ok(())
    }

    /// Of the iteration: `reward` and its deviation, `kl` from the reference and `length` of a reply; for PPO also how
    /// much of the returns' variance the value head explained, and what a nat of divergence cost. Of the step: the
    /// divergence since the replies were rolled out, how many tokens were held by clipping, and the entropy where there
    /// is a bonus for it.
    fn measures(&self, batch: &Batch, outputs: &[Vec<f32>]) -> Measures {
        let mut measures = self.iteration.measures.clone();
        let (Some(nll), Some(old)) = (outputs.first(), batch.get(Input::OldNll)) else { return measures };
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
        measures
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::device::cpu::Cpu;
    use crate::engine::plan::Plan;
    use crate::engine::tape::{Init, State, Tape};

    /// The moments of the first rewards, 1 ± 3, serve all later ones; where all are alike they are only shifted.
    #[test]
    fn rewards_are_standardised_by_the_first() {
        let mut cpu = Cpu::<f32>::default();
        let mut tape = Tape::new("moments");
        tape.state(REWARD_MOMENTS, [2], Init::Constant(0.0), State::Saved);
        cpu.load(&Arc::new(Plan::new(&tape, &[]).unwrap()), 0).unwrap();
        assert_eq!(reward_moments(&mut cpu, [7.0, 0.0]).unwrap(), [7.0, 1.0]);
        assert_eq!(reward_moments(&mut cpu, [1.0, 3.0]).unwrap(), [1.0, 3.0]);
        assert_eq!(reward_moments(&mut cpu, [7.0, 2.0]).unwrap(), [1.0, 3.0]);
    }

    #[test]
    fn divergence_costs_more_beyond_the_target_and_less_below() {
        assert_eq!(adapted(1.0, 2.0, 2.0), 1.0);
        assert_eq!(adapted(1.0, 20.0, 2.0), 1.1);
        assert_eq!(adapted(1.0, 0.0, 2.0), 0.9);
        assert!((adapted(1.0, 2.2, 2.0) - 1.05).abs() < 1e-12);
    }
}
