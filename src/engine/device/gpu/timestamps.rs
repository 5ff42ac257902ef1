//! Timing a run by the GPU's own clock, or by the host's where the adapter has none.
//!
//! Only a profiled run pays: its launches each get a compute pass, between whose ends the GPU notes the time.
//! Passes are the finest grain that every backend can time.

use std::ops::Range;
use std::time::{Duration, Instant};

use wgpu::{
    Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, ComputePassTimestampWrites,
    QuerySet, QueryType,
};

use super::adapter::TIMESTAMPS;
use super::context::Context;
use super::launch_list::LaunchInfo;
use super::open::Gpu;
use super::runner::{Piece, Program, Runner, begin};
use super::transfer::read_words;
use super::under_way::Work;
use crate::engine::device::timeline::{Clock, Detail, LaunchTime, Span, Starts, Timeline};
use crate::engine::device::{DeviceError, PlanId};
use crate::engine::step::Step;

/// Passes whose two timestamps one query set holds: WebGPU allows 4096 timestamps in a set.
const PASSES_PER_SET: usize = 2048;

/// Timestamps at both ends of passes.
struct Stamps {
    sets: Vec<QuerySet>,
    /// Where the GPU puts them for the host to read: 8 bytes each.
    resolved: Buffer,
    passes: usize,
}

impl Stamps {
    /// `None` where the adapter writes no timestamps.
    fn new(context: &Context, passes: usize) -> Option<Self> {
        if !context.device.features().contains(TIMESTAMPS) || passes == 0 {
            return None;
        }
        let counts = (0..passes).step_by(PASSES_PER_SET).map(|first| PASSES_PER_SET.min(passes - first));
        let set = |passes: usize| {
            context.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: QueryType::Timestamp,
                count: 2 * passes as u32,
            })
        };
        let resolved = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16 * passes as u64,
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Some(Self { sets: counts.map(set).collect(), resolved, passes })
    }

    /// Both ends of a pass, or one of a pass that is cut.
    fn around(&self, pass: usize, begins: bool, ends: bool) -> Option<ComputePassTimestampWrites<'_>> {
        let first = 2 * (pass % PASSES_PER_SET) as u32;
        (begins || ends).then(|| ComputePassTimestampWrites {
            query_set: &self.sets[pass / PASSES_PER_SET],
            beginning_of_pass_write_index: begins.then_some(first),
            end_of_pass_write_index: ends.then_some(first + 1),
        })
    }

    fn resolve(&self, encoder: &mut CommandEncoder) {
        for (i, set) in self.sets.iter().enumerate() {
            let first = i * PASSES_PER_SET;
            let queries = 2 * PASSES_PER_SET.min(self.passes - first) as u32;
            encoder.resolve_query_set(set, 0..queries, &self.resolved, 16 * first as u64);
        }
    }

    /// The spans of all passes, counted from the first one's beginning.
    fn spans(&self, context: &Context) -> Result<Vec<Span>, DeviceError> {
        let words = read_words(context, &self.resolved, 0, 4 * self.passes)?;
        let ticks: Vec<u64> =
            words.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
        let us_per_tick = f64::from(context.queue.get_timestamp_period()) / 1e3;
        let origin = ticks[0];
        let us = |from: u64, to: u64| to.saturating_sub(from) as f64 * us_per_tick;
        let span = |ends: &[u64]| Span { start_us: us(origin, ends[0]), us: us(ends[0], ends[1]) };
        Ok(ticks.chunks_exact(2).map(span).collect())
    }
}

impl Gpu {
    /// Whether the adapter times launches itself.
    pub fn has_timestamps(&self) -> bool {
        self.context.device.features().contains(TIMESTAMPS)
    }

    /// [`profile`](crate::engine::device::Device::profile) for a GPU.
    pub(super) fn time_run(
        &mut self,
        plan: PlanId,
        phase: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        self.context.wait_for_all()?;
        self.loaded(plan)?;
        let Self { context, plans, readback, pipelines, uploader, slices, step_group, limits, .. } = self;
        let (context, loaded) = (&*context, &plans[plan.0]);
        let (program, launches) = (&loaded.program, loaded.program.list.phase(phase));
        let passes = if detail == Detail::Launches { launches.len() } else { 1 };
        let stamps = Stamps::new(context, passes);
        let results = loaded.results(phase);
        let mut runner = Runner { context, pipelines, uploader, slices, step_group, limits: *limits };

        let begun = Instant::now();
        let encoder = begin(context, &self.step_buffer, loaded, phase, std::slice::from_ref(step));
        let begin_us = us(begun.elapsed());
        let is_timed_alone = detail == Detail::Launches && stamps.is_none();
        let mut alone = Vec::new();
        let (mut encoder, mut timed) = (encoder, launches.clone());
        if is_timed_alone {
            context.submit(Some(encoder.finish()), Work::Other("clearing"));
            alone = time_alone(&mut runner, program, launches.clone())?;
            encoder = context.device.create_command_encoder(&Default::default());
            timed = launches.end..launches.end;
        }
        let record = |encoder: &mut CommandEncoder, piece: &Piece| {
            let part = piece.part.launches();
            let (begins, ends) = (piece.part.begins(), piece.part.ends());
            match (detail, &stamps) {
                (Detail::Launches, Some(stamps)) => part.for_each(|launch| {
                    let around = stamps.around(launch - launches.start, begins, ends);
                    piece.record(&mut pass(encoder, around), launch);
                }),
                (_, stamps) => {
                    let (begins, ends) =
                        (begins && part.start == launches.start, ends && part.end == launches.end);
                    let around = stamps.as_ref().and_then(|stamps| stamps.around(0, begins, ends));
                    piece.record_all(&mut pass(encoder, around));
                }
            }
        };
        let mut staging = None;
        let submitted = runner.run(encoder, program, timed, record, |encoder| {
            if let Some(stamps) = &stamps {
                stamps.resolve(encoder);
            }
            staging = (!results.is_empty()).then(|| readback.record(context, encoder, &results));
        })?;
        context.wait(submitted.last)?;
        let ran_us = us(submitted.begun.elapsed());
        if let Some(staging) = staging {
            readback.submitted(context, submitted.last, staging, loaded.result_specs(phase))?;
        }
        // Recording, handing over and waiting take turns where a run is cut: told as if each was done at once.
        let encode = Span { start_us: 0.0, us: begin_us + us(submitted.encode) };
        let submit = Span { start_us: encode.end_us(), us: us(submitted.submit) };
        let total_us = us(begun.elapsed());
        let wait = Span { start_us: submit.end_us(), us: (total_us - submit.end_us()).max(0.0) };

        let spans = match (&stamps, detail) {
            (Some(stamps), _) => stamps.spans(context)?,
            (None, Detail::Whole) => vec![Span { start_us: 0.0, us: ran_us }],
            (None, Detail::Launches) => alone,
        };
        let device = Span { start_us: 0.0, us: spans.iter().map(Span::end_us).fold(0.0, f64::max) };
        let waiting = program.waits[launches.clone()].iter().filter(|waits| **waits);
        let starts = Starts { dispatches: launches.len(), barriers: waiting.count() };
        let times = launches.zip(spans).filter(|_| detail == Detail::Launches);
        let time = |(launch, span): (usize, Span)| {
            let LaunchInfo { node, index, shader, .. } = program.launches[launch].info;
            LaunchTime { node, launch: index, variant: loaded.variants[node], shader, span }
        };
        Ok(Timeline {
            clock: if stamps.is_some() { Clock::Timestamps } else { Clock::Wall },
            device,
            launches: times.map(time).collect(),
            encode,
            submit,
            wait,
            submissions: submitted.submissions,
            starts: Some(starts),
        })
    }
}

fn pass<'a>(
    encoder: &'a mut CommandEncoder,
    timestamp_writes: Option<ComputePassTimestampWrites>,
) -> ComputePass<'a> {
    encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes })
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Runs each launch in submissions of its own and waits for it. What empty submissions take is taken off.
fn time_alone(
    runner: &mut Runner,
    program: &Program,
    launches: Range<usize>,
) -> Result<Vec<Span>, DeviceError> {
    let context = runner.context;
    let mut time = |launches: Range<usize>| -> Result<(f64, f64), DeviceError> {
        let encoder = context.device.create_command_encoder(&Default::default());
        let record = |encoder: &mut CommandEncoder, piece: &Piece| {
            piece.record_all(&mut encoder.begin_compute_pass(&Default::default()));
        };
        let submitted = runner.run(encoder, program, launches, record, |_| {})?;
        context.wait(submitted.last)?;
        Ok((us(submitted.begun.elapsed()), submitted.submissions as f64))
    };
    let mut idle = f64::MAX;
    for _ in 0..5 {
        idle = idle.min(time(launches.end..launches.end)?.0);
    }
    let mut at = 0.0;
    launches
        .map(|launch| {
            let (took, submissions) = time(launch..launch + 1)?;
            let us = (took - submissions * idle).max(0.0);
            let span = Span { start_us: at, us };
            at += us;
            Ok(span)
        })
        .collect()
}
