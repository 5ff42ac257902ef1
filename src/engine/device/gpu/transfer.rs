//! Bytes between host and device, in pieces, so that neither side holds a second copy of a large tensor.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use wgpu::{Buffer, BufferAsyncError, BufferUsages, CommandEncoder, MapMode};

use super::context::Context;
use super::under_way::{Ticket, Work};
use crate::engine::device::{DeviceError, Results};
use crate::engine::tensor::{Dtype, Spec};

/// The memory of one tensor of a plan.
#[derive(Clone, Debug)]
pub(super) struct TensorBuffer {
    pub buffer: Buffer,
    /// Bytes of the buffer before it.
    pub offset: u64,
    /// Elements of the tensor; the buffer may be larger.
    pub len: usize,
}

/// Bytes that are on their way at once.
const PIECE: u64 = 16 << 20;

/// Writes to buffers and keeps count of what wgpu holds in staging memory until the next submission.
#[derive(Default)]
pub(super) struct Uploader {
    staged: u64,
}

impl Uploader {
    /// Writes bytes from `offset` on, before whatever is submitted next.
    pub fn write(
        &mut self,
        context: &Context,
        buffer: &Buffer,
        offset: u64,
        data: &[u8],
    ) -> Result<(), DeviceError> {
        let mut at = offset;
        for piece in data.chunks(PIECE as usize) {
            self.make_room(context, piece.len() as u64)?;
            context.queue.write_buffer(buffer, at, piece);
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Sets every word of a range of bytes.
    pub fn fill(
        &mut self,
        context: &Context,
        buffer: &Buffer,
        bytes: Range<u64>,
        word: u32,
    ) -> Result<(), DeviceError> {
        let words = vec![word; (bytes.end - bytes.start).min(PIECE) as usize / 4];
        let mut at = bytes.start;
        while at < bytes.end {
            let len = (bytes.end - at).min(PIECE);
            self.write(context, buffer, at, bytemuck::cast_slice(&words[..len as usize / 4]))?;
            at += len;
        }
        Ok(())
    }

    /// Says that everything staged has been submitted.
    pub fn submitted(&mut self) {
        self.staged = 0;
    }

    fn make_room(&mut self, context: &Context, bytes: u64) -> Result<(), DeviceError> {
        if self.staged > 0 && self.staged + bytes > PIECE {
            let submission = context.submit(None, Work::Other("an upload"));
            context.wait(submission)?;
            self.staged = 0;
        }
        self.staged += bytes;
        Ok(())
    }
}

/// Reads words of a buffer from byte `offset` on, waiting for all that is submitted.
pub(super) fn read_words(
    context: &Context,
    buffer: &Buffer,
    offset: u64,
    len: usize,
) -> Result<Vec<u32>, DeviceError> {
    let mut words = Vec::with_capacity(len);
    let bytes = 4 * len as u64;
    let staging = staging(context, bytes.min(PIECE));
    for first in (0..bytes).step_by(PIECE as usize) {
        let size = (bytes - first).min(PIECE);
        let mut encoder = context.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, offset + first, &staging, 0, Some(size));
        let submission = context.submit(Some(encoder.finish()), Work::Other("a tensor on its way back"));
        let mapped = map(&staging, size);
        context.wait(submission)?;
        take(&mapped)?;
        extend_from(&staging, size, &mut words)?;
        staging.unmap();
    }
    Ok(words)
}

/// Results on their way to the host.
struct Pending {
    submission: Ticket,
    staging: Buffer,
    /// The type of each result, one after the other in the staging buffer.
    specs: Vec<Spec>,
    mapped: Mapped,
}

/// Set once a buffer is mapped, or could not be.
type Mapped = Arc<OnceLock<Result<(), BufferAsyncError>>>;

/// Results in order, from the submission that makes them to the host that takes them.
#[derive(Default)]
pub(super) struct Readback {
    pending: VecDeque<Pending>,
    ready: VecDeque<Results>,
    /// Staging buffers that nothing uses at present.
    free: Vec<Buffer>,
}

/// Results that may wait in staging buffers before they are moved to host memory.
const RING: usize = 4;

impl Readback {
    /// Records copies of these tensors; returns the buffer they go to.
    pub fn record(
        &mut self,
        context: &Context,
        encoder: &mut CommandEncoder,
        results: &[&TensorBuffer],
    ) -> Buffer {
        let bytes = results.iter().map(|held| 4 * held.len as u64).sum();
        let staging = match self.free.iter().position(|b| b.size() >= bytes) {
            Some(i) => self.free.swap_remove(i),
            None => staging(context, bytes),
        };
        let mut at = 0;
        for held in results {
            let size = 4 * held.len as u64;
            encoder.copy_buffer_to_buffer(&held.buffer, held.offset, &staging, at, Some(size));
            at += size;
        }
        staging
    }

    /// Queues the results of a submission.
    pub fn submitted(
        &mut self,
        context: &Context,
        submission: Ticket,
        staging: Buffer,
        specs: Vec<Spec>,
    ) -> Result<(), DeviceError> {
        let mapped = map(&staging, bytes(&specs));
        self.pending.push_back(Pending { submission, staging, specs, mapped });
        if self.pending.len() > RING {
            self.receive(context, true)?;
        }
        Ok(())
    }

    /// The oldest results; `None` when there are none or, without `wait`, none that have arrived.
    pub fn next(&mut self, context: &Context, wait: bool) -> Result<Option<Results>, DeviceError> {
        if self.ready.is_empty() {
            self.receive(context, wait)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Moves the oldest results to host memory if they have arrived.
    fn receive(&mut self, context: &Context, wait: bool) -> Result<(), DeviceError> {
        let Some(oldest) = self.pending.front() else { return Ok(()) };
        if oldest.mapped.get().is_none() {
            if wait { context.wait(oldest.submission)? } else { context.poll()? }
        }
        if oldest.mapped.get().is_none() {
            return Ok(());
        }
        let Some(oldest) = self.pending.pop_front() else { return Ok(()) };
        take(&oldest.mapped)?;
        let mut all: Vec<u32> = Vec::new();
        extend_from(&oldest.staging, bytes(&oldest.specs), &mut all)?;
        let mut rest = all.as_slice();
        let mut results = Results::with_capacity(oldest.specs.len());
        for spec in &oldest.specs {
            let (words, others) = rest.split_at(spec.shape.len());
            results.push(match spec.dtype {
                Dtype::F32 => bytemuck::cast_slice(words).to_vec(),
                Dtype::U32 => words.iter().map(|&index| index as f32).collect(),
            });
            rest = others;
        }
        oldest.staging.unmap();
        self.free.push(oldest.staging);
        self.ready.push_back(results);
        Ok(())
    }
}

/// Bytes of these results together.
fn bytes(specs: &[Spec]) -> u64 {
    specs.iter().map(Spec::bytes).sum()
}

fn staging(context: &Context, size: u64) -> Buffer {
    context.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size,
        usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        mapped_at_creation: false,
    })
}

fn map(staging: &Buffer, size: u64) -> Mapped {
    let mapped = Mapped::default();
    let set = mapped.clone();
    // The callback is called once, so the cell is empty.
    staging.map_async(MapMode::Read, 0..size, move |result| drop(set.set(result)));
    mapped
}

fn take(mapped: &Mapped) -> Result<(), DeviceError> {
    match mapped.get() {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(DeviceError::Gpu(format!("results could not be read back: {error}"))),
        None => Err(DeviceError::Gpu("results were not delivered with the work that makes them".into())),
    }
}

/// Appends the first `bytes` of a mapped buffer.
fn extend_from<T: bytemuck::Pod>(staging: &Buffer, bytes: u64, to: &mut Vec<T>) -> Result<(), DeviceError> {
    let view = staging.get_mapped_range(0..bytes).map_err(|e| DeviceError::Gpu(e.to_string()))?;
    to.extend(view.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned::<T>));
    Ok(())
}
