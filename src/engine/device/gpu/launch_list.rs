//! Launches in order, what each takes, and where they are cut into submissions.
//!
//! Windows resets a GPU whose submission runs for two seconds, and every desktop stalls for as long as one does. What
//! a launch takes is first guessed from its op's [`Cost`], for the slowest adapter of its kind, then measured: each
//! submission that is waited for corrects what its launches are thought to take.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::slices::Slice;
use crate::engine::op::Cost;

/// How long a submission may take, as far as that can be foreseen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub seconds: f64,
    /// Runs every launch in slices of at most so many workgroups, however short.
    pub groups: Option<u64>,
}

/// Slices that one launch is cut into at most, so that a limit below what a submission itself takes ends somewhere.
const MOST_SLICES: u64 = 1024;

/// The most by which one slow submission of known launches raises what they are thought to take: the machine may
/// have been busy with something else.
const RISE: f64 = 2.0;

/// Seconds that a launch takes at least.
const LEAST: f64 = 5e-6;

/// What an adapter does in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    flops: f64,
    bytes: f64,
    /// The longest that work took so far, in multiples of what these figures say.
    slowest: Option<f64>,
}

impl Speed {
    /// Kernels that reach as much: what is guessed before anything is measured. Old hardware of each kind, and
    /// kernels that suit it badly, do more.
    pub fn of(kind: wgpu::DeviceType) -> Self {
        let (flops, bytes) = match kind {
            wgpu::DeviceType::DiscreteGpu => (100e9, 20e9),
            wgpu::DeviceType::Cpu => (2e9, 1e9),
            _ => (10e9, 4e9),
        };
        Self { flops, bytes, slowest: None }
    }

    fn seconds(&self, cost: Cost) -> f64 {
        LEAST + cost.flops as f64 / self.flops + cost.bytes as f64 / self.bytes
    }

    /// What guesses are multiplied by: never more than 1, and far less on an adapter that has been seen to be fast.
    pub fn scale(&self) -> f64 {
        // Other kernels may suit it less than those that were measured.
        self.slowest.map_or(1.0, |slowest| (4.0 * slowest).min(1.0))
    }

    /// Learns from work that was guessed to take `guess` seconds. Short work says little about speed.
    pub fn learn(&mut self, guess: f64, took: f64) {
        if guess > 0.02 {
            self.slowest = Some(self.slowest.unwrap_or(0.0).max(took / guess));
        }
    }
}

/// What a launch takes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    seconds: f64,
    /// Measured, not guessed.
    known: bool,
}

impl Pace {
    fn seconds(&self, scale: f64) -> f64 {
        if self.known { self.seconds } else { self.seconds * scale }
    }
}

/// What one submission runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Whole(Range<usize>),
    Slice { launch: usize, slice: Slice, begins: bool, ends: bool },
}

impl Part {
    pub fn launches(&self) -> Range<usize> {
        match self {
            Self::Whole(launches) => launches.clone(),
            Self::Slice { launch, .. } => *launch..launch + 1,
        }
    }

    /// Whether its first launch begins with it.
    pub fn begins(&self) -> bool {
        !matches!(self, Self::Slice { begins: false, .. })
    }

    /// Whether its last launch ends with it.
    pub fn ends(&self) -> bool {
        !matches!(self, Self::Slice { ends: false, .. })
    }
}

/// How far a run has come.
#[derive(Debug)]
pub(super) struct Cursor {
    launch: usize,
    end: usize,
    /// Workgroups of that launch that have been submitted.
    group: u64,
}

impl Cursor {
    pub fn new(launches: Range<usize>) -> Self {
        Self { launch: launches.start, end: launches.end, group: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.launch == self.end
    }
}

/// A launch, but for what it is bound to.
#[derive(Clone)]
pub(super) struct LaunchInfo {
    /// Its node, counted among those that were bound with it, and its own number among the launches of that node.
    pub node: usize,
    pub index: usize,
    /// The node's name.
    pub name: Arc<str>,
    /// The shader's path below `shaders/`, without the ending.
    pub shader: &'static str,
    /// Its share of the node's work.
    pub cost: Cost,
    pub grid: [u32; 3],
}

/// Launches in the order they run.
pub(super) struct LaunchList {
    pub launches: Vec<LaunchInfo>,
    /// The phases of the plan, by the launches in them.
    phases: Vec<(Range<usize>, String)>,
    pace: Mutex<Vec<Pace>>,
}

impl LaunchList {
    pub fn new(launches: Vec<LaunchInfo>, phases: Vec<(Range<usize>, String)>, speed: Speed) -> Self {
        let guess = |launch: &LaunchInfo| Pace { seconds: speed.seconds(launch.cost), known: false };
        Self { pace: Mutex::new(launches.iter().map(guess).collect()), launches, phases }
    }

    /// The launches of a phase.
    pub fn phase(&self, phase: usize) -> Range<usize> {
        self.phases[phase].0.clone()
    }

    /// The part of a run that comes next.
    pub fn next(&self, at: &mut Cursor, limits: &Limits, scale: f64) -> Part {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let grid = |launch: usize| self.launches[launch].grid;
        next(at, limits, |launch| pace[launch].seconds(scale), grid)
    }

    /// How many times over one submission may run these launches; 0 where that is not known.
    pub fn repeats(&self, launches: Range<usize>, limits: &Limits) -> usize {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = &pace[launches];
        if limits.groups.is_some() || pace.iter().any(|pace| !pace.known) {
            return 0;
        }
        (limits.seconds / pace.iter().map(|pace| pace.seconds).sum::<f64>().max(LEAST)) as usize
    }

    /// Whether all launches of a part have been measured.
    pub fn knows(&self, part: &Part) -> bool {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace[part.launches()].iter().all(|pace| pace.known)
    }

    /// Learns what a part took; at most that, where it is not `exact`. Says what it was guessed to take if it was
    /// never measured before.
    pub fn learn(&self, part: &Part, took: Duration, exact: bool, scale: f64) -> Option<f64> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let share = match part {
            Part::Whole(_) => 1.0,
            Part::Slice { launch, slice, .. } => {
                slice.len() as f64 / groups(self.launches[*launch].grid).max(1) as f64
            }
        };
        let pace = &mut pace[part.launches()];
        let fresh = !pace.is_empty() && pace.iter().all(|pace| !pace.known);
        let guess = share * pace.iter().map(|pace| pace.seconds).sum::<f64>();
        let thought = share * pace.iter().map(|pace| pace.seconds(scale)).sum::<f64>();
        let mut ratio = took.as_secs_f64() / thought.max(LEAST);
        if pace.iter().all(|pace| pace.known) {
            ratio = ratio.min(if exact { RISE } else { 1.0 });
        }
        for pace in pace {
            *pace = Pace { seconds: pace.seconds(scale) * ratio, known: true };
        }
        fresh.then_some(guess)
    }

    /// A part in words: `h.0.mlp/matmul` (matmul/register), the first of …
    pub fn describe(&self, part: &Part) -> String {
        let launches = part.launches();
        let Some(first) = self.launches.get(launches.start).filter(|_| !launches.is_empty()) else {
            return "copies".into();
        };
        let mut words = format!("`{}` (shaders/{}.wgsl)", first.name, first.shader);
        match part {
            Part::Slice { slice, .. } => {
                words += &format!(
                    ", {} of its {} workgroups from {:?} on",
                    slice.len(),
                    groups(first.grid),
                    slice.first
                );
            }
            Part::Whole(_) if launches.len() > 1 => {
                let last = &self.launches[launches.end - 1].name;
                words += &format!(" or one of the {} kernels after it up to `{last}`", launches.len() - 1);
            }
            Part::Whole(_) => {}
        }
        let phase = self.phases.iter().find(|(of_it, _)| of_it.contains(&launches.start));
        words + &phase.map_or(String::new(), |(_, name)| format!(", in `{name}`"))
    }
}

/// Workgroups of a grid.
fn groups(grid: [u32; 3]) -> u64 {
    grid.iter().map(|&n| u64::from(n)).product()
}

fn next(
    at: &mut Cursor,
    limits: &Limits,
    seconds: impl Fn(usize) -> f64,
    grid: impl Fn(usize) -> [u32; 3],
) -> Part {
    let first = at.launch;
    if at.is_done() {
        return Part::Whole(first..first);
    }
    let all = groups(grid(first));
    let fits = (limits.seconds / seconds(first).max(LEAST) * all as f64) as u64;
    let most = limits.groups.unwrap_or_else(|| fits.max(all.div_ceil(MOST_SLICES))).max(1);
    if limits.groups.is_some() || at.group > 0 || most < all {
        let begins = at.group == 0;
        let slice = Slice::new(grid(first), at.group, most);
        at.group += slice.len();
        let ends = at.group >= all;
        if ends {
            (at.launch, at.group) = (first + 1, 0);
        }
        return Part::Slice { launch: first, slice, begins, ends };
    }
    let mut sum = seconds(first);
    at.launch += 1;
    while !at.is_done() && sum + seconds(at.launch) <= limits.seconds {
        sum += seconds(at.launch);
        at.launch += 1;
    }
    Part::Whole(first..at.launch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of launches that take so many seconds, each of 10 by 3 workgroups.
    fn parts(seconds: &[f64], limits: Limits) -> Vec<Part> {
        let mut at = Cursor::new(0..seconds.len());
        let mut parts = Vec::new();
        while !at.is_done() {
            parts.push(next(&mut at, &limits, |launch| seconds[launch], |_| [10, 3, 1]));
        }
        parts
    }

    #[test]
    fn launches_share_submissions_up_to_the_limit_and_longer_ones_are_sliced() {
        let limits = Limits { seconds: 0.5, groups: None };
        assert_eq!(parts(&[1e-3; 400], limits), [Part::Whole(0..400)]);
        assert_eq!(
            parts(&[0.2, 0.2, 0.2, 0.5], limits),
            [Part::Whole(0..2), Part::Whole(2..3), Part::Whole(3..4)]
        );
        let slice = |first, groups, begins, ends| {
            let slice = Slice { first, groups };
            Part::Slice { launch: 1, slice, begins, ends }
        };
        // A second and a half in 30 workgroups: ten of them, a row, take half a second.
        assert_eq!(
            parts(&[0.1, 1.5, 0.1], limits),
            [
                Part::Whole(0..1),
                slice([0, 0, 0], [10, 1, 1], true, false),
                slice([0, 1, 0], [10, 1, 1], false, false),
                slice([0, 2, 0], [10, 1, 1], false, true),
                Part::Whole(2..3)
            ]
        );
        let tiny = Limits { seconds: 1e-9, groups: None };
        assert_eq!(parts(&[0.1], tiny).len(), 30);
        assert_eq!(parts(&[0.0; 2], Limits { groups: Some(15), ..limits }).len(), 6);
    }

    #[test]
    fn an_adapter_that_was_seen_to_be_fast_is_trusted_with_more() {
        let mut speed = Speed::of(wgpu::DeviceType::IntegratedGpu);
        let cost = Cost { flops: 10_000_000_000, bytes: 0 };
        assert!((speed.seconds(cost) - 1.0).abs() < 1e-3);
        assert!((speed.scale() - 1.0).abs() < 1e-9);
        speed.learn(1e-3, 1.0);
        assert!((speed.scale() - 1.0).abs() < 1e-9, "short work says little");
        speed.learn(0.5, 0.005);
        assert!((speed.scale() - 0.04).abs() < 1e-9);
        speed.learn(0.5, 5.0);
        assert!((speed.scale() - 1.0).abs() < 1e-9);
    }
}
