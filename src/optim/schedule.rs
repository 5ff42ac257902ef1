//! The learning rate over the steps of a run.

use std::f64::consts::PI;

/// Linear warm-up, then half a cosine from the highest rate to the lowest (Loshchilov & Hutter 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    pub highest: f64,
    pub lowest: f64,
    pub warmup_steps: u64,
    pub steps: u64,
}

impl Cosine {
    /// The rate of step `step`, the first being 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.highest * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        if step >= self.steps {
            return self.lowest;
        }
        let done = (step - self.warmup_steps) as f64 / (self.steps - self.warmup_steps) as f64;
        self.lowest + 0.5 * (1.0 + (PI * done).cos()) * (self.highest - self.lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_nanogpts() {
        // From nanoGPT's get_lr with learning_rate 1e-3, min_lr 1e-4, warmup_iters 100, lr_decay_iters 2000.
        let cosine = Cosine { highest: 1e-3, lowest: 1e-4, warmup_steps: 100, steps: 2000 };
        for (step, rate) in
            [(0, 9.900_990_099e-6), (99, 9.900_990_099e-4), (100, 1e-3), (1050, 5.5e-4), (2000, 1e-4)]
        {
            assert!((cosine.rate(step) - rate).abs() < 1e-12, "{step}: {}", cosine.rate(step));
        }
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_only_warms_up() {
        let cosine = Cosine { highest: 1.0, lowest: 0.1, warmup_steps: 9, steps: 3 };
        assert_eq!([0, 1, 2].map(|s| cosine.rate(s)), [0.1, 0.2, 0.3]);
    }
}
