//! Launches on their way to the device, in as many submissions as keep to the limit.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wgpu::{BindGroup, Buffer, CommandEncoder, ComputePass};

use super::context::Context;
use super::course::{Course, Cursor, Limits, Part};
use super::pipelines::{Pipeline, Pipelines};
use super::transfer::Uploader;
use super::under_way::{Ticket, Work};
use crate::engine::device::DeviceError;

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
    pub course: &'a Course,
    pub part: &'a Part,
    sliced: Option<Arc<Pipeline>>,
    step_group: &'a BindGroup,
}

impl Piece<'_> {
    /// Records one of its launches.
    pub fn record(&self, pass: &mut ComputePass, launch: usize) {
        let launch = &self.course.launches[launch];
        match (self.part, &self.sliced) {
            (Part::Slice { slice, .. }, Some(pipeline)) => {
                launch.record_as(pass, self.step_group, pipeline, slice.groups);
            }
            _ => launch.record(pass, self.step_group),
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
    ///
    /// # Errors
    /// When a slice does not compile or the device fails.
    pub fn run(
        &mut self,
        mut encoder: CommandEncoder,
        course: &Arc<Course>,
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
            let part = course.next(&mut at, &self.limits, context.speed().scale());
            let sliced = self.prepare(course, &part)?;
            record(&mut encoder, &Piece { course, part: &part, sliced, step_group: self.step_group });
            if let Some(end) = end.take_if(|_| at.is_done()) {
                end(&mut encoder);
            }
            let commands = encoder.finish();
            encode += start.elapsed();
            context.make_room()?;
            let is_known = course.knows(&part);
            let start = Instant::now();
            let last = context.submit(Some(commands), Work::Part(course.clone(), part));
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

    /// What a slice needs: a pipeline that begins where it begins. The next submission reads where that is.
    fn prepare(&mut self, course: &Course, part: &Part) -> Result<Option<Arc<Pipeline>>, DeviceError> {
        let Part::Slice { launch, slice, .. } = part else { return Ok(None) };
        let launch = &course.launches[*launch];
        self.context.queue.write_buffer(self.slices, 0, &slice.bytes(launch.grid));
        self.pipelines.sliced(self.context, &launch.pipeline).map(Some)
    }
}
