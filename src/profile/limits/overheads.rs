//! What it takes to have anything done: dispatches, submissions, bytes on their way, pipelines.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Overheads;
use super::stopwatch::Stopwatch;
use crate::engine::device::PlanId;
use crate::engine::device::timeline::Detail;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::{Init, State, Tape};
use crate::engine::tensor::Spec;
use crate::profile::MeasureError;
use crate::profile::probes::count::Count;
use crate::profile::probes::matches::Matches;
use crate::profile::probes::multiply_add::{Form, MultiplyAdd};

/// Dispatches of a run: enough that what begins and ends it does not count.
const DISPATCHES: usize = 512;
/// Numbers of a large transfer: as many as a queue of uploads takes at once, several times.
const LARGE: usize = 1 << 24;
const LARGE_OF_A_CPU: usize = 1 << 22;
/// Pipelines made.
const PIPELINES: u64 = 5;

impl Overheads {
    pub(super) fn measure(watch: &mut Stopwatch) -> Result<Self, MeasureError> {
        let [dispatch, _] = dispatches(watch, DISPATCHES)?;
        let [same, record] = dispatches(watch, 1)?;
        let [other, _] = dispatches(watch, 2)?;
        let [submission, readback] = submission(watch)?;
        let [upload, download] = transfers(watch)?;
        Ok(Self {
            dispatch_s: 1e-6 * dispatch,
            dispatch_after_same_s: 1e-6 * same,
            dispatch_after_other_s: 1e-6 * other,
            record_s: 1e-6 * record,
            submission_s: 1e-6 * submission,
            readback_s: 1e-6 * readback,
            readback_bytes_per_s: download,
            upload_bytes_per_s: upload,
            pipeline_s: pipeline(watch)?,
        })
    }
}

/// Loads so many dispatches that count in turn in so many buffers; the first buffer is read back.
fn load(watch: &mut Stopwatch, dispatches: usize, buffers: usize) -> Result<PlanId, MeasureError> {
    watch.device.clear();
    let mut tape = Tape::new("dispatches");
    let state = |i: usize| tape.state(&format!("count {i}"), [1], Init::Constant(0.0), State::Transient);
    let mut counts: Vec<_> = (0..buffers).map(state).collect();
    for i in 0..dispatches {
        let count = &mut counts[i % buffers];
        *count = tape.apply_one(Count, &[*count])?;
    }
    let results = if dispatches == 1 { &counts[..] } else { &[] };
    Ok(watch.device.load(&Arc::new(Plan::new(&tape, results)?), 0)?)
}

/// Microseconds of one of many dispatches that count in so many buffers: on the device, and on the host for recording
/// it.
fn dispatches(watch: &mut Stopwatch, buffers: usize) -> Result<[f64; 2], MeasureError> {
    let plan = load(watch, DISPATCHES, buffers)?;
    let (mut runs, mut record) = (0, f64::MAX);
    let device = watch.median(|watch| {
        let timeline = watch.device.profile(plan, 0, &Step::default(), Detail::Whole)?;
        runs += 1;
        record = record.min(timeline.encode.us);
        Ok(timeline.device.us)
    })?;
    let last = format!("count {}", buffers - 1);
    let (counted, expected) = (watch.device.read(&last)?[0], (runs * (DISPATCHES / buffers)) as f32);
    if counted != expected {
        let (probe, device) = (format!("{Count:?}"), watch.device.describe());
        return Err(MeasureError::Wrong { probe, device, wrong: 1, of: 1, expected });
    }
    Ok([device, record].map(|us| us / DISPATCHES as f64))
}

/// Microseconds until the end of a submission is seen, and until a result is there.
fn submission(watch: &mut Stopwatch) -> Result<[f64; 2], MeasureError> {
    let plan = load(watch, 1, 1)?;
    let seen = watch.median(|watch| {
        let timeline = watch.device.profile(plan, 0, &Step::default(), Detail::Whole)?;
        watch.device.results(true)?;
        Ok(timeline.submit.us + timeline.wait.us)
    })?;
    let there = watch.median(|watch| {
        let begun = Instant::now();
        watch.device.run(plan, 0, &Step::default())?;
        watch.device.results(true)?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    })?;
    Ok([seen, there])
}

/// Bytes per second to the device, and back.
fn transfers(watch: &mut Stopwatch) -> Result<[f64; 2], MeasureError> {
    let numbers = if watch.device.slow() { LARGE_OF_A_CPU } else { LARGE };
    watch.device.clear();
    let mut tape = Tape::new("transfers");
    let large = tape.state("large", [numbers], Init::Constant(0.0), State::Transient);
    let counts = tape.apply_one(Matches { expected: 1.0 }, &[large])?;
    let plan = watch.device.load(&Arc::new(Plan::new(&tape, &[counts])?), 0)?;
    let data: Vec<f32> = (0..numbers).map(|i| (i % 1009) as f32).collect();
    let bytes = 4.0 * numbers as f64;
    let run = |watch: &mut Stopwatch| {
        let begun = Instant::now();
        watch.device.run(plan, 0, &Step::default())?;
        watch.device.results(true)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let ran = watch.median(run)?;
    let up = watch.median(|watch| {
        let begun = Instant::now();
        watch.device.write("large", &data)?;
        let wrote = begun.elapsed().as_secs_f64();
        // What was written is there when a run that reads it has ended.
        Ok(wrote + run(watch)?)
    })?;
    let up = (up - ran).max(0.1 * up);
    let mut back = Vec::with_capacity(numbers);
    let down = watch.median(|watch| {
        back.clear();
        let begun = Instant::now();
        watch.device.read_parts("large", &mut |part| back.extend_from_slice(part))?;
        Ok(begun.elapsed().as_secs_f64())
    })?;
    let wrong = back.iter().zip(&data).filter(|(got, want)| got != want).count();
    if wrong > 0 || back.len() != numbers {
        let (probe, device) = ("a transfer there and back".into(), watch.device.describe());
        return Err(MeasureError::Wrong { probe, device, wrong, of: numbers, expected: data[0] });
    }
    Ok([bytes / up, bytes / down])
}

/// Seconds from a new text to its pipeline: what loading takes longer the first time than the second.
fn pipeline(watch: &mut Stopwatch) -> Result<f64, MeasureError> {
    // No driver has seen these numbers of rounds.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut all = Vec::new();
    for i in 0..PIPELINES {
        let rounds = 8 * ((now + i) % (1 << 24)) as usize;
        let load = |watch: &mut Stopwatch| {
            watch.device.clear();
            let mut tape = Tape::new("pipeline");
            let x = tape.input("x", Spec::f32([1]));
            tape.apply_one(MultiplyAdd { form: Form::TwoOps, threads: 1, rounds }, &[x])?;
            let plan = Arc::new(Plan::new(&tape, &[])?);
            let begun = Instant::now();
            watch.device.load(&plan, 0)?;
            Ok::<_, MeasureError>(begun.elapsed().as_secs_f64())
        };
        let (first, second) = (load(watch)?, load(watch)?);
        all.push((first - second).max(0.0));
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}
