//! The learning rate over the steps of a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// Not at all.
    Constant,
    /// In a straight line.
    Linear,
    /// Half a cosine (Loshchilov & Hutter 2017).
    Cosine,
    /// Not until the last fifth, then in a straight line: warm-up, stable, decay (Hu et al. 2024).
    Wsd,
}

/// Linear warm-up from 0 to the highest rate, which its last step has, then a fall to the lowest, which the last step
/// of the run has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    pub schedule: LrSchedule,
    pub highest: f64,
    pub lowest: f64,
    pub warmup_steps: u64,
    pub steps: u64,
}

/// The share of the steps after the warm-up for which [`LrSchedule::Wsd`] keeps the highest rate.
const STABLE: f64 = 0.8;

impl LearningRate {
    /// The rate of step `step`, the first being 0. A run that ends within its warm-up only warms up.
    pub fn at(&self, step: u64) -> f64 {
        // Steps done with this one.
        let t = step + 1;
        if t <= self.warmup_steps {
            return self.highest * (t as f64 / self.warmup_steps as f64);
        }
        // Without a warm-up the first step has the highest rate.
        let peak = self.warmup_steps.max(1);
        // How much of the fall is done: 0 at the peak, 1 at the last step.
        let done = if t < self.steps { (t - peak) as f64 / (self.steps - peak) as f64 } else { 1.0 };
        let left = match self.schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Linear => 1.0 - done,
            LrSchedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
            LrSchedule::Wsd => ((1.0 - done) / (1.0 - STABLE)).min(1.0),
        };
        // Exact at both ends.
        left * self.highest + (1.0 - left) * self.lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LrSchedule; 4] =
        [LrSchedule::Constant, LrSchedule::Linear, LrSchedule::Cosine, LrSchedule::Wsd];

    fn schedule(decay: LrSchedule) -> LearningRate {
        LearningRate { schedule: decay, highest: 1e-3, lowest: 1e-4, warmup_steps: 100, steps: 2000 }
    }

    #[test]
    fn the_warm_up_ends_at_the_highest_rate_and_the_run_at_the_lowest() {
        for decay in ALL {
            let end = if decay == LrSchedule::Constant { 1e-3 } else { 1e-4 };
            for (warmup_steps, first) in [(100, 1e-5), (8, 1.25e-4), (1, 1e-3), (0, 1e-3)] {
                let schedule = LearningRate { warmup_steps, ..schedule(decay) };
                assert_eq!(schedule.at(0), first, "{decay:?} {warmup_steps}");
                assert_eq!(schedule.at(warmup_steps.max(1) - 1), 1e-3, "{decay:?} {warmup_steps}");
                assert_eq!(schedule.at(1999), end, "{decay:?} {warmup_steps}");
                let highest_at = |step: &u64| schedule.at(*step) >= 1e-3;
                assert!((0..warmup_steps.max(1) - 1).all(|step| !highest_at(&step)));
            }
        }
    }

    /// By hand: half the way up, then half, nine tenths and all of the way down.
    #[test]
    fn every_decay_rises_alike_and_falls_its_own_way() {
        // 1e-4 + 9e-4 (1 + cos 0.9 π) / 2
        const COSINE: f64 = 1.220_245_676_671_809e-4;
        for (decay, rates) in [
            (LrSchedule::Constant, [5e-4, 1e-3, 1e-3, 1e-3]),
            (LrSchedule::Linear, [5e-4, 5.5e-4, 1.9e-4, 1e-4]),
            (LrSchedule::Cosine, [5e-4, 5.5e-4, COSINE, 1e-4]),
            (LrSchedule::Wsd, [5e-4, 1e-3, 5.5e-4, 1e-4]),
        ] {
            for (done, rate) in [50, 1050, 1810, 2000].into_iter().zip(rates) {
                let got = schedule(decay).at(done - 1);
                assert!((got - rate).abs() < 1e-12, "{decay:?} {done}: {got}");
            }
        }
    }

    #[test]
    fn a_run_that_ends_within_its_warm_up_only_warms_up() {
        let short = LearningRate {
            schedule: LrSchedule::Cosine,
            highest: 1.0,
            lowest: 0.1,
            warmup_steps: 10,
            steps: 3,
        };
        assert_eq!([0, 1, 2].map(|s| short.at(s)), [0.1, 0.2, 0.3]);
    }
}
