//! A workload run several times: as in training, and launch by launch. The fastest run of each kind counts,
//! since whatever else the machine does can only add to a time; the median says what training will see.

use std::time::{Duration, Instant};

use super::subject::Subject;
use super::workload::{Part, Workload};
use crate::engine::device::DeviceError;
use crate::engine::device::timeline::{Clock, Detail, Span, Timeline};

/// The times of one part of a workload.
#[derive(Clone, Debug)]
pub struct PartTimes {
    pub part: Part,
    /// As in an ordinary run.
    pub whole: Timeline,
    /// Each launch on its own.
    pub detailed: Timeline,
    /// Moving the results of the ordinary run into the host's memory.
    pub readback: Span,
    /// Microseconds of every ordinary run, the first to warm up left out.
    pub runs_us: Vec<f64>,
}

impl PartTimes {
    /// The host's own work in microseconds: recording, handing over, reading back.
    pub fn host_us(&self) -> f64 {
        self.whole.encode.us + self.whole.submit.us + self.readback.us
    }

    /// From the first command recorded to the last result read, in microseconds.
    pub fn step_us(&self) -> f64 {
        self.readback.end_us()
    }

    /// The median of the ordinary runs, in microseconds.
    pub fn median_us(&self) -> f64 {
        let mut sorted = self.runs_us.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Runs of each kind that are enough, and that are the fewest however slow they are.
const RUNS: usize = 10;
const FEWEST_RUNS: usize = 3;
/// More runs are begun until this has gone by, or if the launches do not add up to the whole, which on a busy
/// machine shows that one of them was disturbed, until that.
const ENOUGH: Duration = Duration::from_secs(6);
const AT_MOST: Duration = Duration::from_secs(24);
const AGREEMENT: f64 = 0.05;

/// Loads and times a workload, whose plan becomes the one that the device runs.
pub fn measure(device: &mut dyn Subject, workload: &mut Workload) -> Result<Vec<PartTimes>, DeviceError> {
    let id = workload.load(device)?;
    workload.plan = device.plan(id)?;
    let mut best: Vec<Option<PartTimes>> = vec![None; workload.parts.len()];
    let begun = Instant::now();
    // The first run warms up and is not counted.
    for run in 0..=RUNS {
        let agree = best.iter().flatten().all(PartTimes::adds_up);
        if run > FEWEST_RUNS && begun.elapsed() > if agree { ENOUGH } else { AT_MOST } {
            break;
        }
        for (best, &part) in best.iter_mut().zip(&workload.parts) {
            let mut profile = |detail| {
                let start = Instant::now();
                let timeline = device.profile(id, part.phase, &workload.step, detail)?;
                let start_us = start.elapsed().as_secs_f64() * 1e6;
                while device.results(true)?.is_some() {}
                let us = start.elapsed().as_secs_f64() * 1e6 - start_us;
                Ok::<_, DeviceError>((timeline, us))
            };
            let (whole, readback_us) = profile(Detail::Whole)?;
            let (detailed, _) = profile(Detail::Launches)?;
            let readback = Span { start_us: whole.wait.end_us(), us: readback_us };
            let runs_us = vec![readback.end_us()];
            let fresh = PartTimes { part, whole, detailed, readback, runs_us };
            match best {
                Some(best) if run > 1 => best.keep_faster(fresh),
                _ => *best = Some(fresh),
            }
        }
    }
    Ok(best.into_iter().flatten().collect())
}

impl PartTimes {
    fn keep_faster(&mut self, other: Self) {
        self.runs_us.extend(other.runs_us);
        if other.whole.device.us < self.whole.device.us {
            (self.whole, self.readback) = (other.whole, other.readback);
        }
        if other.detailed.launches_us() < self.detailed.launches_us() {
            self.detailed = other.detailed;
        }
    }

    /// Whether the launches together take about as long as the whole.
    fn adds_up(&self) -> bool {
        (self.detailed.launches_us() / self.whole.device.us - 1.0).abs() < AGREEMENT
    }

    /// What the launches were timed with.
    pub fn clock(&self) -> Clock {
        self.detailed.clock
    }
}
