//! Probes loaded, checked and timed within a budget of time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::device::PlanId;
use crate::engine::device::timeline::Detail;
use crate::engine::op::{AnyOp, Record};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::{Init, State, Tape};
use crate::engine::tensor::Spec;
use crate::profile::MeasureError;
use crate::profile::probes::Probe;
use crate::profile::probes::matches::Matches;
use crate::profile::subject::Subject;

/// What all of measuring may take, on a GPU and on the host's processor. When it is spent, what is left is run once
/// each.
const BUDGET: Duration = Duration::from_secs(90);
const BUDGET_OF_A_CPU: Duration = Duration::from_secs(40);
/// Runs of one probe: no fewer, and no more once they have taken so long together.
const FEWEST_RUNS: usize = 5;
const ENOUGH_RUNS: usize = 40;
const ENOUGH: Duration = Duration::from_millis(400);
/// Microseconds that one run should take, so that what is around it does not count: on a GPU, and on the host's
/// processor, where more is around it.
const RUN_US: f64 = 3_000.0;
const RUN_OF_A_CPU_US: f64 = 30_000.0;
/// The largest size of a probe.
pub(super) const LARGEST: usize = 1 << 22;

/// A device whose limits are measured.
pub(super) struct Stopwatch<'a> {
    pub device: &'a mut dyn Subject,
    until: Instant,
}

impl<'a> Stopwatch<'a> {
    pub fn new(device: &'a mut dyn Subject) -> Self {
        let budget = if device.slow() { BUDGET_OF_A_CPU } else { BUDGET };
        Self { device, until: Instant::now() + budget }
    }

    /// Work per second of a probe, made for a size that doubles, from `least` to at most `most`, until a run takes long
    /// enough.
    pub fn rate<P: Probe>(
        &mut self,
        sizes: [usize; 2],
        probe: impl Fn(usize) -> P,
    ) -> Result<f64, MeasureError> {
        let [mut size, most] = sizes;
        let enough = if self.device.slow() { RUN_OF_A_CPU_US } else { RUN_US };
        loop {
            let probe = Arc::new(probe(size));
            let plan = self.load(probe.clone(), &probe.inputs(), probe.expected())?;
            let us = self.run(plan)?;
            if us >= enough || size >= most {
                return Ok(probe.work() / self.best(plan, us)? * 1e6);
            }
            let times = (enough / us).clamp(2.0, 64.0) as usize;
            size = (size * times.next_power_of_two()).min(most);
        }
    }

    /// Loads an op with inputs of ones, runs it, and checks that all elements of its output are as expected. What was
    /// loaded before is forgotten.
    pub fn load(
        &mut self,
        op: Arc<dyn AnyOp>,
        inputs: &[Spec],
        expected: f32,
    ) -> Result<PlanId, MeasureError> {
        let probe = format!("{op:?}");
        self.device.clear();
        let mut tape = Tape::new("probe");
        let ones = |(i, spec): (usize, &Spec)| {
            tape.state(&format!("ones {i}"), spec.shape, Init::Constant(1.0), State::Transient)
        };
        let inputs: Vec<_> = inputs.iter().enumerate().map(ones).collect();
        let y = tape.record(op, &inputs)?[0];
        let of = tape.shape(y).len();
        tape.begin_phase("check");
        let matches = tape.apply_one(Matches { expected }, &[y])?;
        let plan = self.device.load(&Arc::new(Plan::new(&tape, &[matches])?), 0)?;
        self.run(plan)?;
        self.device.run(plan, 1, &Step::default())?;
        let counts = self.device.results(true)?.unwrap_or_default();
        let right: usize = counts.iter().flatten().map(|&count| count as usize).sum();
        match of - right.min(of) {
            0 => Ok(plan),
            wrong => Err(MeasureError::Wrong { probe, device: self.device.describe(), wrong, of, expected }),
        }
    }

    /// Microseconds of one run.
    fn run(&mut self, plan: PlanId) -> Result<f64, MeasureError> {
        let timeline = self.device.profile(plan, 0, &Step::default(), Detail::Launches)?;
        Ok(timeline.launches_us().max(1e-3))
    }

    /// The fewest microseconds of several runs.
    pub fn best(&mut self, plan: PlanId, first: f64) -> Result<f64, MeasureError> {
        let mut least = first;
        self.repeat(|watch| {
            least = least.min(watch.run(plan)?);
            Ok(())
        })?;
        Ok(least)
    }

    /// Does something several times: as often as the time that is left allows.
    pub fn repeat(
        &mut self,
        mut act: impl FnMut(&mut Self) -> Result<(), MeasureError>,
    ) -> Result<(), MeasureError> {
        let begun = Instant::now();
        for run in 1..=ENOUGH_RUNS {
            act(self)?;
            let is_enough = run >= FEWEST_RUNS && begun.elapsed() > ENOUGH;
            if is_enough || Instant::now() > self.until {
                break;
            }
        }
        Ok(())
    }

    /// The median of what it gives.
    pub fn median(
        &mut self,
        mut act: impl FnMut(&mut Self) -> Result<f64, MeasureError>,
    ) -> Result<f64, MeasureError> {
        let mut all = Vec::new();
        self.repeat(|watch| {
            all.push(act(watch)?);
            Ok(())
        })?;
        all.sort_by(f64::total_cmp);
        Ok(all[all.len() / 2])
    }
}
