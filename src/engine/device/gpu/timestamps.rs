//! Timing a run by the GPU's own clock, or by the host's where the adapter has none.
//!
//! Only a profiled run pays: its launches each get a compute pass, between whose ends the GPU notes the time.
//! Passes are the finest grain that every backend can time.

use std::time::Instant;

use wgpu::{
    Buffer, BufferUsages, CommandEncoder, ComputePassDescriptor, ComputePassTimestampWrites, Features,
    QuerySet, QueryType,
};

use super::Gpu;
use super::context::Context;
use super::launch::Launch;
use super::transfer::read_words;
use crate::engine::device::timeline::{Clock, Detail, LaunchTime, Span, Timeline};
use crate::engine::device::{DeviceError, PlanId};
use crate::engine::step::Step;

/// Passes whose two timestamps one query set holds: WebGPU allows 4096 timestamps in a set.
const PASSES_PER_SET: usize = 2048;

/// What timing a whole run needs of an adapter; asked for where it is offered.
pub(super) const FEATURES: Features = Features::TIMESTAMP_QUERY;

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
        if !context.device.features().contains(FEATURES) || passes == 0 {
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

    /// Both ends of a pass.
    fn around(&self, pass: usize) -> ComputePassTimestampWrites<'_> {
        let first = 2 * (pass % PASSES_PER_SET) as u32;
        ComputePassTimestampWrites {
            query_set: &self.sets[pass / PASSES_PER_SET],
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
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
        self.context.device.features().contains(FEATURES)
    }

    /// [`profile`](crate::engine::device::Device::profile) for a GPU.
    pub(super) fn time_run(
        &mut self,
        plan: PlanId,
        segment: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        self.in_flight.clear();
        self.context.wait(None)?;
        self.loaded(plan)?;
        let Self { context, plans, readback, step_buffer, step_group, uploader, .. } = self;
        let loaded = &plans[plan.0];
        let segment = &loaded.plan.segments[segment];
        let launches: Vec<_> = segment
            .nodes
            .clone()
            .flat_map(|node| loaded.launches[node].iter().enumerate().map(move |(i, l)| (node, i, l)))
            .collect();
        let passes = if detail == Detail::Launches { launches.len() } else { 1 };
        let stamps = Stamps::new(context, passes);

        let begun = Instant::now();
        let since = |start: Instant| Span {
            start_us: (start - begun).as_secs_f64() * 1e6,
            us: start.elapsed().as_secs_f64() * 1e6,
        };
        context.queue.write_buffer(step_buffer, 0, bytemuck::bytes_of(step));
        let mut encoder = context.device.create_command_encoder(&Default::default());
        for &place in &segment.cleared {
            let held = &loaded.places[place];
            encoder.clear_buffer(&held.buffer, 0, Some(4 * held.len as u64));
        }
        let mut alone = Vec::new();
        match (detail, &stamps) {
            (Detail::Launches, None) => {
                context.queue.submit([encoder.finish()]);
                alone = time_alone(context, launches.iter().map(|(.., launch)| *launch), step_group)?;
                encoder = context.device.create_command_encoder(&Default::default());
            }
            (Detail::Launches, Some(stamps)) => {
                for (i, (.., launch)) in launches.iter().enumerate() {
                    record(&mut encoder, Some(stamps.around(i)), [*launch], step_group);
                }
            }
            (Detail::Whole, stamps) => {
                let timestamps = stamps.as_ref().map(|stamps| stamps.around(0));
                record(&mut encoder, timestamps, launches.iter().map(|(.., launch)| *launch), step_group);
            }
        }
        if let Some(stamps) = &stamps {
            stamps.resolve(&mut encoder);
        }
        let results: Vec<_> = segment.results.iter().map(|&place| &loaded.places[place]).collect();
        let staging = (!results.is_empty()).then(|| readback.record(context, &mut encoder, &results));
        let commands = encoder.finish();
        let encode = since(begun);

        let start = Instant::now();
        let submission = context.queue.submit([commands]);
        let submit = since(start);
        uploader.submitted();
        let start = Instant::now();
        context.wait(Some(submission.clone()))?;
        let wait = since(start);
        if let Some(staging) = staging {
            let lens = results.iter().map(|held| held.len).collect();
            readback.submitted(context, submission, staging, lens)?;
        }

        let spans = match (&stamps, detail) {
            (Some(stamps), _) => stamps.spans(context)?,
            (None, Detail::Whole) => vec![Span { start_us: 0.0, us: submit.us + wait.us }],
            (None, Detail::Launches) => alone,
        };
        let device = Span { start_us: 0.0, us: spans.iter().map(Span::end_us).fold(0.0, f64::max) };
        let times = launches.iter().zip(spans).filter(|_| detail == Detail::Launches);
        let time = |(&(node, i, launch), span): (&(usize, usize, &Launch), Span)| LaunchTime {
            node,
            launch: i,
            variant: loaded.variants[node],
            shader: launch.shader,
            span,
        };
        Ok(Timeline {
            clock: if stamps.is_some() { Clock::Timestamps } else { Clock::Wall },
            device,
            launches: times.map(time).collect(),
            encode,
            submit,
            wait,
        })
    }
}

fn record<'a>(
    encoder: &mut CommandEncoder,
    timestamp_writes: Option<ComputePassTimestampWrites>,
    launches: impl IntoIterator<Item = &'a Launch>,
    step: &wgpu::BindGroup,
) {
    let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes });
    for launch in launches {
        launch.record(&mut pass, step);
    }
}

/// Runs each launch in a submission of its own and waits for it. What an empty submission takes is taken off.
fn time_alone<'a>(
    context: &Context,
    launches: impl Iterator<Item = &'a Launch>,
    step: &wgpu::BindGroup,
) -> Result<Vec<Span>, DeviceError> {
    let time = |launch: Option<&Launch>| -> Result<f64, DeviceError> {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        record(&mut encoder, None, launch, step);
        let commands = encoder.finish();
        let start = Instant::now();
        let submission = context.queue.submit([commands]);
        context.wait(Some(submission))?;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    };
    let mut idle = f64::MAX;
    for _ in 0..5 {
        idle = idle.min(time(None)?);
    }
    let mut at = 0.0;
    launches
        .map(|launch| {
            let us = (time(Some(launch))? - idle).max(0.0);
            let span = Span { start_us: at, us };
            at += us;
            Ok(span)
        })
        .collect()
}
