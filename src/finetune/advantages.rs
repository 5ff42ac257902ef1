//! Advantages: what each token of a reply gained over the expected value. In PPO they are a sum of later rewards by
//! generalised advantage estimation (Schulman et al. 2016), with a KL penalty on each token:
//!
//! - r_t = −β (ln π(t) − ln π_ref(t)), and at the last token (R − mean) / std is added, of rewards at the start
//! - δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γ λ A_{t+1}, returns A_t + V_t
//!
//! and in GRPO (R − mean R) / std R over the replies to one prompt (Shao et al. 2024), for all tokens alike.

use super::ppo_options::PpoOptions;
use super::rollout::Rollout;

/// Replies with what each of their tokens gained.
#[derive(Clone, Debug)]
pub struct Experience {
    pub rollout: Rollout,
    pub advantages: Vec<f32>,
    /// What values are to become; none in GRPO.
    pub returns: Vec<f32>,
}

/// Advantages and returns of a reply's tokens; rewards are standardised by a mean and a standard deviation.
pub fn gae(
    rollout: &Rollout,
    [mean, deviation]: [f64; 2],
    kl_coefficient: f64,
    options: &PpoOptions,
) -> (Vec<f32>, Vec<f32>) {
    let n = rollout.old.len();
    let (mut advantages, mut returns) = (vec![0.0; n], vec![0.0; n]);
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..n).rev() {
        let divergence = f64::from(rollout.reference[t] - rollout.old[t]);
        let earned = if t + 1 == n { (rollout.reward - mean) / deviation } else { 0.0 };
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
pub fn whiten(experience: &mut [Experience]) {
    let all: Vec<f64> = experience.iter().flat_map(|e| &e.advantages).map(|&a| f64::from(a)).collect();
    let [mean, deviation] = moments(&all);
    for advantage in experience.iter_mut().flat_map(|e| &mut e.advantages) {
        *advantage = ((f64::from(*advantage) - mean) / (deviation + 1e-8)) as f32;
    }
}

/// Advantages of replies to one prompt.
pub fn in_group(group: &[Rollout]) -> Vec<Experience> {
    let rewards: Vec<f64> = group.iter().map(|rollout| rollout.reward).collect();
    let [mean, deviation] = moments(&rewards);
    let learn = |rollout: &Rollout| {
        let advantage = (rollout.reward - mean) / (deviation + 1e-4);
        let advantages = vec![advantage as f32; rollout.old.len()];
        Experience { rollout: rollout.clone(), advantages, returns: Vec::new() }
    };
    group.iter().map(learn).collect()
}

/// Mean and standard deviation.
pub fn moments(x: &[f64]) -> [f64; 2] {
    let n = x.len().max(1) as f64;
    let mean = x.iter().sum::<f64>() / n;
    [mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()]
}

/// How much of the variance of returns the values explain that were expected of them: 1 for all, 0 for nothing.
pub fn explained_variance(experience: &[Experience]) -> f64 {
    let of_tokens = |e: &Experience| -> Vec<[f64; 2]> {
        e.returns.iter().zip(&e.rollout.values).map(|(&of, &value)| [of, value].map(f64::from)).collect()
    };
    let (returns, errors): (Vec<f64>, Vec<f64>) =
        experience.iter().flat_map(of_tokens).map(|[of, value]| (of, of - value)).unzip();
    let [left, all] = [errors, returns].map(|x| moments(&x)[1]);
    1.0 - (left / all.max(1e-6)).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(old: &[f32], reference: &[f32], values: &[f32], reward: f64) -> Rollout {
        let [old, reference, values] = [old, reference, values].map(<[f32]>::to_vec);
        Rollout { old, reference, values, reward, ..Rollout::default() }
    }

    /// γ = 0.5, λ = 0.5, β = 0.1; divergences 1 and −2, and 5 is 3 deviations of 2 above −1: rewards −0.1 and 0.2 + 3.
    /// δ₁ = 3.2 − 2 = 1.2; δ₀ = −0.1 + 0.5 · 2 − 1 = −0.1; A₀ = −0.1 + 0.25 · 1.2 = 0.2.
    #[test]
    fn advantages_by_hand() {
        let options = PpoOptions { gamma: 0.5, gae_lambda: 0.5, ..PpoOptions::default() };
        let rollout = rollout(&[1.0, 4.0], &[2.0, 2.0], &[1.0, 2.0], 5.0);
        let (advantages, returns) = gae(&rollout, [-1.0, 2.0], 0.1, &options);
        let near = |got: &[f32], want: [f32; 2]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&advantages, [0.2, 1.2]), "{advantages:?}");
        assert!(near(&returns, [1.2, 3.2]), "{returns:?}");
        assert_eq!(rollout.kl(), -1.0);
    }

    /// Returns 1, 3, 5, 7 have variance 5; errors −1, 1, −1, 1 have 1.
    #[test]
    fn explained_variance_by_hand() {
        let learned = |returns: [f32; 2], values: [f32; 2]| Experience {
            rollout: rollout(&[0.0; 2], &[0.0; 2], &values, 0.0),
            advantages: Vec::new(),
            returns: returns.to_vec(),
        };
        let experience = [learned([1.0, 3.0], [2.0, 2.0]), learned([5.0, 7.0], [6.0, 6.0])];
        assert!((explained_variance(&experience) - 0.8).abs() < 1e-12);
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
}
