//! Launches on their way to the device, in as many submissions as keep to the limit.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wgpu::{BindGroup, Buffer, CommandEncoder, ComputePass};

use super::context::Context;
use super::launch::Launch;
use super::launch_list::{Cursor, LaunchList, Limits, Part};
use super::pipelines::{Pipeline, Pipelines};
use super::steps::{self, StepGroup};
use super::transfer::{TensorBuffer, Uploader};
use super::under_way::{Ticket, Work};
use crate::engine::device::DeviceError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tensor::Spec;

/// Nodes whose kernels are bound.
pub(super) struct Program {
    pub launches: Vec<Launch>,
    /// Of each, whether it waits for those before it.
    pub waits: Vec<bool>,
    /// The same launches, as submissions are cut from them.
    pub list: Arc<LaunchList>,
}

impl Program {
    /// Launches of these phases, each a range of launches and a name.
    pub fn new(context: &Context, launches: Vec<Launch>, phases: Vec<(Range<usize>, String)>) -> Self {
        let infos = launches.iter().map(|launch| launch.info.clone()).collect();
        let waits = phases.iter().flat_map(|(phase, _)| waits(&launches[phase.clone()])).collect();
        Self { list: Arc::new(LaunchList::new(infos, phases, context.speed())), launches, waits }
    }
}

/// Of launches of one phase, which have a barrier before them: wgpu puts it where a buffer was written, or read and is
/// now written.
fn waits(launches: &[Launch]) -> Vec<bool> {
    // What has been used, and whether it was last written.
    let mut used: Vec<(&Buffer, bool)> = Vec::new();
    let mut all = Vec::with_capacity(launches.len());
    for launch in launches {
        let waits = |(buffer, writes): &(Buffer, bool)| {
            used.iter().any(|(other, written)| *other == buffer && (*written || *writes))
        };
        all.push(launch.buffers.iter().any(waits));
        for (buffer, writes) in &launch.buffers {
            used.retain(|(other, _)| *other != buffer);
            used.push((buffer, *writes));
        }
    }
    all
}

/// A plan that is ready to run.
pub(super) struct Loaded {
    pub plan: Arc<Plan>,
    /// The memory of each tensor.
    pub tensors: Vec<TensorBuffer>,
    /// The launches of all nodes.
    pub program: Program,
    /// The kernel of each node, by name.
    pub variants: Vec<&'static str>,
}

impl Loaded {
    /// The memory of what is read back after a phase.
    pub fn results(&self, phase: usize) -> Vec<&TensorBuffer> {
        self.plan.phases[phase].results.iter().map(|&tensor| &self.tensors[tensor]).collect()
    }

    /// The types of what is read back.
    pub fn result_specs(&self, phase: usize) -> Vec<Spec> {
        self.plan.phases[phase].results.iter().map(|&tensor| self.plan.tensors[tensor].spec).collect()
    }
}

/// What runs launches.
pub(super) struct Runner<'a> {
    pub context: &'a Context,
    pub pipelines: &'a mut Pipelines,
    pub uploader: &'a mut Uploader,
    /// The uniform of [slices](super::slices).
    pub slices: &'a Buffer,
    pub step_group: &'a BindGroup,
    pub limits: Limits,
}

/// A part to be recorded.
pub(super) struct Piece<'a> {
    pub program: &'a Program,
    pub part: &'a Part,
    sliced: Option<Arc<Pipeline>>,
    step_group: &'a BindGroup,
}

impl Piece<'_> {
    /// Records one of its launches.
    pub fn record(&self, pass: &mut ComputePass, launch: usize) {
        let launch = &self.program.launches[launch];
        let step = StepGroup { group: self.step_group, step: 0 };
        match (self.part, &self.sliced) {
            (Part::Slice { slice, .. }, Some(pipeline)) => {
                launch.record_as(pass, step, pipeline, slice.groups);
            }
            _ => launch.record(pass, step),
        }
    }

    /// Records all of its launches.
    pub fn record_all(&self, pass: &mut ComputePass) {
        self.part.launches().for_each(|launch| self.record(pass, launch));
    }
}

/// A run that has been submitted.
pub(super) struct Submitted {
    /// The last submission.
    pub last: Ticket,
    pub submissions: usize,
    /// When the first was handed over.
    pub begun: Instant,
    /// Time for recording and for handing over.
    pub encode: Duration,
    pub submit: Duration,
}

impl Runner<'_> {
    /// Runs launches after what `encoder` holds. `record` records a part, `end` what follows the last.
    pub fn run(
        &mut self,
        mut encoder: CommandEncoder,
        program: &Program,
        launches: Range<usize>,
        mut record: impl FnMut(&mut CommandEncoder, &Piece),
        end: impl FnOnce(&mut CommandEncoder),
    ) -> Result<Submitted, DeviceError> {
        let context = self.context;
        let (mut at, mut end) = (Cursor::new(launches), Some(end));
        let (mut submissions, mut begun) = (0, None);
        let (mut encode, mut submit) = (Duration::ZERO, Duration::ZERO);
        loop {
            let start = Instant::now();
            let part = program.list.next(&mut at, &self.limits, context.speed().scale());
            let sliced = self.prepare(program, &part)?;
            record(&mut encoder, &Piece { program, part: &part, sliced, step_group: self.step_group });
            if let Some(end) = end.take_if(|_| at.is_done()) {
                end(&mut encoder);
            }
            let commands = encoder.finish();
            encode += start.elapsed();
            context.make_room()?;
            let is_known = program.list.knows(&part);
            let start = Instant::now();
            let last = context.submit(Some(commands), Work::Part(program.list.clone(), part, 1));
            submit += start.elapsed();
            self.uploader.submitted();
            submissions += 1;
            let begun = *begun.get_or_insert(start);
            // What follows is cut by what this takes.
            if !is_known {
                context.wait(last)?;
            }
            if at.is_done() {
                return Ok(Submitted { last, submissions, begun, encode, submit });
            }
            encoder = context.device.create_command_encoder(&Default::default());
        }
    }

    /// Runs launches once for each of so many steps after what `encoder` holds, all in one submission: as often as
    /// [`repeats`](LaunchList::repeats) says. `end` records what follows the last.
    pub fn repeat(
        &mut self,
        mut encoder: CommandEncoder,
        program: &Program,
        launches: Range<usize>,
        steps: usize,
        end: impl FnOnce(&mut CommandEncoder),
    ) -> Result<Ticket, DeviceError> {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for step in 0..steps {
            let step = StepGroup { group: self.step_group, step };
            program.launches[launches.clone()].iter().for_each(|launch| launch.record(&mut pass, step));
        }
        drop(pass);
        end(&mut encoder);
        let commands = encoder.finish();
        self.context.make_room()?;
        let work = Work::Part(program.list.clone(), Part::Whole(launches), steps);
        let ticket = self.context.submit(Some(commands), work);
        self.uploader.submitted();
        Ok(ticket)
    }

    /// What a slice needs: a pipeline that begins where it begins. The next submission reads where that is.
    fn prepare(&mut self, program: &Program, part: &Part) -> Result<Option<Arc<Pipeline>>, DeviceError> {
        let Part::Slice { launch, slice, .. } = part else { return Ok(None) };
        let launch = &program.launches[*launch];
        self.context.queue.write_buffer(self.slices, 0, &slice.bytes(launch.info.grid));
        self.pipelines.sliced(self.context, &launch.pipeline).map(Some)
    }
}

/// Writes what changes from step to step, of at most [`steps::MOST`] of them, and begins to record a phase: what it clears.
pub(super) fn begin(
    context: &Context,
    step_buffer: &Buffer,
    loaded: &Loaded,
    phase: usize,
    steps: &[Step],
) -> CommandEncoder {
    context.queue.write_buffer(step_buffer, 0, &steps::bytes(steps));
    let mut encoder = context.device.create_command_encoder(&Default::default());
    for &tensor in &loaded.plan.phases[phase].cleared {
        let held = &loaded.tensors[tensor];
        encoder.clear_buffer(&held.buffer, held.offset, Some(4 * held.len as u64));
    }
    encoder
}
