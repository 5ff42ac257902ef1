//! Buffers on the device: one per persistent tensor, input and slot.

use std::collections::HashMap;

use wgpu::{Buffer, BufferUsages, ErrorFilter};

use super::context::Context;
use super::transfer::{TensorBuffer, Uploader};
use crate::engine::device::{DeviceError, initial_values};
use crate::engine::plan::{Plan, PlanTensor, Storage};
use crate::engine::tape::Init;

/// Bytes of poison after every tensor of a device that looks for stray accesses.
pub(super) const MARGIN: u64 = 256;
/// What unwritten memory and the margins of operands hold: a NaN; as an index it is far beyond any table.
const POISON: u32 = 0x7fde_adad;
/// What the margins of results hold: a number, 1.25e6, since NaN plus anything would be NaN again and hide
/// that it was written.
pub(super) const SENTINEL: u32 = 0x4998_9680;

/// All buffers of a device that outlive a plan.
pub(super) struct Memory {
    /// Bytes the device has, where known.
    capacity: Option<u64>,
    allocated: u64,
    persistent: HashMap<String, TensorBuffer>,
    /// Temporaries of all plans, which never run at the same time, largest first.
    slots: Vec<Buffer>,
    scratch: Option<Buffer>,
    /// Fill temporaries with poison and leave a margin of it after every tensor.
    poison: bool,
}

impl Memory {
    pub fn new(capacity: Option<u64>, poison: bool) -> Self {
        let (persistent, slots) = (HashMap::new(), Vec::new());
        Self { capacity, allocated: 0, persistent, slots, scratch: None, poison }
    }

    /// Bytes by which a binding that ends where its tensor ends reaches beyond it.
    pub fn margin(&self) -> u64 {
        if self.poison { MARGIN } else { 0 }
    }

    pub fn persistent(&self, name: &str) -> Result<&TensorBuffer, DeviceError> {
        self.persistent.get(name).ok_or_else(|| DeviceError::Unknown { kind: "tensor", name: name.into() })
    }

    /// The scratch memory of all kernels, `None` before any needs it.
    pub fn scratch(&self) -> Option<&Buffer> {
        self.scratch.as_ref()
    }

    /// Memory for a plan whose kernels need `scratch` elements, by tensor. Nothing is allocated when it would
    /// not fit.
    pub fn load(
        &mut self,
        context: &Context,
        uploader: &mut Uploader,
        plan: &Plan,
        scratch: usize,
        seed: u64,
    ) -> Result<Vec<TensorBuffer>, DeviceError> {
        self.check_fits(context, plan, scratch)?;
        if scratch > 0 && self.scratch.as_ref().is_none_or(|s| s.size() < 4 * scratch as u64) {
            self.scratch = Some(self.allocate(context, "scratch", scratch)?);
        }
        if let Some(scratch) = self.scratch.as_ref().filter(|_| self.poison) {
            uploader.fill(context, scratch, 0..scratch.size(), POISON)?;
        }
        let slots = self.share_slots(context, uploader, &plan.slots)?;
        for arena in &plan.arenas {
            self.persist_arena(context, uploader, plan, arena, seed)?;
        }
        let mut tensors = Vec::with_capacity(plan.tensors.len());
        for tensor in &plan.tensors {
            let (len, offset) = (tensor.spec.shape.len(), 4 * tensor.first as u64);
            tensors.push(match &tensor.storage {
                Storage::Slot(slot) => TensorBuffer { buffer: slots[*slot].clone(), offset, len },
                Storage::Input(name) => {
                    TensorBuffer { buffer: self.allocate(context, name, len)?, offset, len }
                }
                Storage::Persistent { name, init, .. } => {
                    self.persist(context, uploader, name, *init, len, seed)?
                }
                Storage::Arena(arena) => {
                    let (first, _) = named(plan, plan.arenas[*arena][0]);
                    let held = self.persistent(first)?;
                    TensorBuffer { buffer: held.buffer.clone(), offset: held.offset + offset, len }
                }
            });
        }
        self.mark_margins(context, uploader, plan, &tensors)?;
        Ok(tensors)
    }

    /// Fills the margins of all tensors but temporaries, whose slots are filled as a whole.
    fn mark_margins(
        &self,
        context: &Context,
        uploader: &mut Uploader,
        plan: &Plan,
        tensors: &[TensorBuffer],
    ) -> Result<(), DeviceError> {
        for (i, held) in tensors.iter().enumerate().filter(|_| self.poison) {
            if !matches!(plan.tensors[i].storage, Storage::Slot(_)) {
                let written = plan.nodes.iter().any(|node| node.outputs.contains(&i));
                let word = if written { SENTINEL } else { POISON };
                let end = held.offset + 4 * held.len as u64;
                uploader.fill(context, &held.buffer, end..held.buffer.size(), word)?;
            }
        }
        Ok(())
    }

    fn persist(
        &mut self,
        context: &Context,
        uploader: &mut Uploader,
        name: &str,
        init: Init,
        len: usize,
        seed: u64,
    ) -> Result<TensorBuffer, DeviceError> {
        if let Some(held) = self.persistent.get(name) {
            if held.len == len {
                return Ok(held.clone());
            }
            return Err(DeviceError::Length { name: name.into(), expected: held.len, got: len });
        }
        let held = TensorBuffer { buffer: self.allocate(context, name, len)?, offset: 0, len };
        begin(context, uploader, &held, (name, init), seed)?;
        self.persistent.insert(name.into(), held.clone());
        Ok(held)
    }

    /// Whether the persistent tensors of a joined plan can lie as it wants: they do, or none of them is here.
    pub fn takes(&self, plan: &Plan) -> bool {
        plan.arenas.iter().all(|arena| {
            let held: Vec<_> =
                arena.iter().filter_map(|&tensor| self.persistent.get(named(plan, tensor).0)).collect();
            let lies = |(&tensor, held_one): (&usize, &&TensorBuffer)| {
                let PlanTensor { spec, first, .. } = &plan.tensors[tensor];
                held_one.buffer == held[0].buffer
                    && held_one.offset == held[0].offset + 4 * *first as u64
                    && held_one.len == spec.shape.len()
            };
            held.is_empty() || held.len() == arena.len() && arena.iter().zip(&held).all(lies)
        })
    }

    /// Persistent tensors one after another in one buffer, if they are not here.
    fn persist_arena(
        &mut self,
        context: &Context,
        uploader: &mut Uploader,
        plan: &Plan,
        arena: &[usize],
        seed: u64,
    ) -> Result<(), DeviceError> {
        let (first, _) = named(plan, arena[0]);
        if self.persistent.contains_key(first) {
            return Ok(());
        }
        let elements = arena.iter().map(|&tensor| plan.tensors[tensor].spec.shape.len()).sum();
        let buffer = self.allocate(context, &format!("{first} and others"), elements)?;
        for &tensor in arena {
            let PlanTensor { spec, first, .. } = &plan.tensors[tensor];
            let held =
                TensorBuffer { buffer: buffer.clone(), offset: 4 * *first as u64, len: spec.shape.len() };
            let (name, init) = named(plan, tensor);
            begin(context, uploader, &held, (name, init), seed)?;
            self.persistent.insert(name.into(), held);
        }
        Ok(())
    }

    /// Slots for a plan, matched by rank of size so that plans share as much as they can. A slot that is too
    /// small is replaced: earlier plans keep the old one.
    fn share_slots(
        &mut self,
        context: &Context,
        uploader: &mut Uploader,
        wanted: &[usize],
    ) -> Result<Vec<Buffer>, DeviceError> {
        let mut shared = vec![None; wanted.len()];
        for (rank, slot) in by_size(wanted).into_iter().enumerate() {
            let fits = self.slots.get(rank).is_some_and(|b| b.size() >= self.bytes(wanted[slot]));
            if !fits {
                let buffer = self.allocate(context, &format!("slot {rank}"), wanted[slot])?;
                if rank < self.slots.len() {
                    self.slots[rank] = buffer;
                } else {
                    self.slots.push(buffer);
                }
            }
            if self.poison {
                let (buffer, end) = (&self.slots[rank], 4 * wanted[slot] as u64);
                uploader.fill(context, buffer, 0..end, POISON)?;
                uploader.fill(context, buffer, end..buffer.size(), SENTINEL)?;
            }
            shared[slot] = Some(self.slots[rank].clone());
        }
        // Every slot has a rank, so none is left out.
        Ok(shared.into_iter().flatten().collect())
    }

    fn bytes(&self, elements: usize) -> u64 {
        (elements as u64).saturating_mul(4).saturating_add(self.margin())
    }

    /// Fails when the plan needs more memory than the device has left.
    fn check_fits(&self, context: &Context, plan: &Plan, scratch: usize) -> Result<(), DeviceError> {
        let mut fresh = match &self.scratch {
            Some(have) if have.size() >= 4 * scratch as u64 => 0,
            _ => self.bytes(scratch),
        };
        for (rank, slot) in by_size(&plan.slots).into_iter().enumerate() {
            let bytes = self.bytes(plan.slots[slot]);
            if self.slots.get(rank).is_none_or(|b| b.size() < bytes) {
                fresh = u64::saturating_add(fresh, bytes);
            }
        }
        for tensor in &plan.tensors {
            let here = matches!(&tensor.storage, Storage::Persistent { name, .. } if self.persistent.contains_key(name));
            if !here && !matches!(tensor.storage, Storage::Slot(_) | Storage::Arena(_)) {
                fresh = fresh.saturating_add(self.bytes(tensor.spec.shape.len()));
            }
        }
        self.check(context, fresh)
    }

    /// Whether so many bytes more would fit.
    pub fn check(&self, context: &Context, fresh: u64) -> Result<(), DeviceError> {
        let needed = self.allocated.saturating_add(fresh);
        match self.capacity {
            Some(capacity) if needed > capacity => {
                Err(DeviceError::memory(context.entry.name.clone(), needed, capacity))
            }
            _ => Ok(()),
        }
    }

    /// A buffer to be dropped soon; `None` when it would not fit.
    pub fn spare(&mut self, context: &Context, elements: usize) -> Option<Buffer> {
        let allocated = self.allocated;
        let fits = self.capacity.is_none_or(|capacity| allocated + self.bytes(elements) <= capacity);
        let spare = fits.then(|| self.allocate(context, "spare", elements).ok()).flatten();
        self.allocated = allocated;
        spare
    }

    /// A buffer of so many elements, and a margin if stray accesses are looked for.
    fn allocate(&mut self, context: &Context, name: &str, elements: usize) -> Result<Buffer, DeviceError> {
        let size = self.bytes(elements);
        let offered = context.device.limits().max_buffer_size;
        if size > offered {
            let adapter = format!("{}, for `{name}`,", context.entry.name);
            return Err(DeviceError::Limit { adapter, limit: "max_buffer_size", offered, needed: size });
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let describe = wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false };
        let buffer =
            context.caught(ErrorFilter::OutOfMemory, || context.device.create_buffer(&describe)).map_err(
                |_| DeviceError::memory(context.entry.name.clone(), self.allocated + size, self.allocated),
            )?;
        self.allocated += size;
        Ok(buffer)
    }
}

/// The name of a persistent tensor, and how it begins.
fn named(plan: &Plan, tensor: usize) -> (&str, Init) {
    match &plan.tensors[tensor].storage {
        Storage::Persistent { name, init, .. } => (name, *init),
        other => panic!("{other:?} is no persistent tensor"),
    }
}

/// Fills a new tensor with its first values.
fn begin(
    context: &Context,
    uploader: &mut Uploader,
    held: &TensorBuffer,
    (name, init): (&str, Init),
    seed: u64,
) -> Result<(), DeviceError> {
    match init {
        // wgpu hands out zeros.
        Init::Constant(0.0) => Ok(()),
        Init::Constant(value) => {
            let end = held.offset + 4 * held.len as u64;
            uploader.fill(context, &held.buffer, held.offset..end, value.to_bits())
        }
        Init::Normal(_) | Init::Rotary(_) | Init::Sinusoidal { .. } => {
            let values = initial_values(seed, name, init, held.len);
            uploader.write(context, &held.buffer, held.offset, bytemuck::cast_slice(&values))
        }
    }
}

/// Indices of slots, largest first.
fn by_size(slots: &[usize]) -> Vec<usize> {
    let mut order: Vec<_> = (0..slots.len()).collect();
    order.sort_by_key(|&slot| std::cmp::Reverse(slots[slot]));
    order
}
