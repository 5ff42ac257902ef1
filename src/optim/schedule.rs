//! The learning rate over the steps of a run.

use std::f64::consts::PI;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the rate falls behind the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// In a straight line.
    Linear,
    /// Half a cosine (Loshchilov & Hutter 2017).
    Cosine,
    /// Not until the last fifth, then in a straight line: warm-up, stable, decay (Hu et al. 2024).
    Wsd,
}

/// Linear warm-up to the highest rate, then a fall to the lowest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub decay: Decay,
    pub highest: f64,
    pub lowest: f64,
    pub warmup_steps: u64,
    pub steps: u64,
}

/// The share of the steps behind the warm-up for which [`Decay::Wsd`] keeps the highest rate.
const STABLE: f64 = 0.8;

impl Schedule {
    /// The rate of step `step`, the first being 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.highest * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        // How much of the fall is still to come: 1 at its beginning, 0 at the last step.
        let left = if step >= self.steps {
            0.0
        } else {
            let done = (step - self.warmup_steps) as f64 / (self.steps - self.warmup_steps) as f64;
            match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - done,
                Decay::Cosine => 0.5 * (1.0 + (PI * done).cos()),
                Decay::Wsd => ((1.0 - done) / (1.0 - STABLE)).min(1.0),
            }
        };
        let left = if self.decay == Decay::Constant { 1.0 } else { left };
        self.lowest + left * (self.highest - self.lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule { decay, highest: 1e-3, lowest: 1e-4, warmup_steps: 100, steps: 2000 }
    }

    #[test]
    fn the_cosine_is_nanogpts() {
        // From nanoGPT's get_lr with learning_rate 1e-3, min_lr 1e-4, warmup_iters 100, lr_decay_iters 2000.
        let cosine = schedule(Decay::Cosine);
        for (step, rate) in
            [(0, 9.900_990_099e-6), (99, 9.900_990_099e-4), (100, 1e-3), (1050, 5.5e-4), (2000, 1e-4)]
        {
            assert!((cosine.rate(step) - rate).abs() < 1e-12, "{step}: {}", cosine.rate(step));
        }
    }

    #[test]
    fn every_decay_rises_alike_and_falls_its_own_way() {
        for (decay, rates) in [
            (Decay::Constant, [1e-3, 1e-3, 1e-3, 1e-3]),
            (Decay::Linear, [1e-3, 5.5e-4, 1.9e-4, 1e-4]),
            (Decay::Wsd, [1e-3, 1e-3, 5.5e-4, 1e-4]),
        ] {
            let schedule = schedule(decay);
            assert!((schedule.rate(99) - 9.900_990_099e-4).abs() < 1e-12);
            for (step, rate) in [100, 1050, 1810, 2000].into_iter().zip(rates) {
                assert!(
                    (schedule.rate(step) - rate).abs() < 1e-9,
                    "{decay:?} {step}: {}",
                    schedule.rate(step)
                );
            }
        }
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_only_warms_up() {
        let short = Schedule { decay: Decay::Cosine, highest: 1.0, lowest: 0.1, warmup_steps: 9, steps: 3 };
        assert_eq!([0, 1, 2].map(|s| short.rate(s)), [0.1, 0.2, 0.3]);
    }
}
