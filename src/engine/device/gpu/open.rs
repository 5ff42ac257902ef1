//! An open GPU, and how it is opened.

use std::num::NonZero;
use std::time::Duration;

use wgpu::{BindGroup, BindingResource, Buffer, BufferBinding, BufferUsages};

use super::adapter::{self, DeviceLimits};
use super::autotune::{Autotune, Choices, Tuner};
use super::context::{Context, PATIENCE};
use super::launch_list::Limits;
use super::memory::{MARGIN, Memory, SENTINEL};
use super::pipelines::Pipelines;
use super::runner::Loaded;
use super::substitute::Substitute;
use super::transfer::{Readback, TensorBuffer, Uploader, read_words};
use super::{recorder, sanitizers, slices, steps};
use crate::engine::device::{DeviceError, PlanId};
use crate::engine::dispatch::Target;
use crate::engine::step::Step;

/// How a GPU is opened and used.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, or its place in [`adapter::list`]; the best one when not given.
    pub adapter: Option<String>,
    pub limits: DeviceLimits,
    /// Binds at most this many bytes at a time even where the adapter takes more, to run the code that
    /// splits large tensors on small ones.
    pub max_binding_bytes: Option<u64>,
    /// Numbers workgroups along at most this many to an axis, to run the code that folds long grids on
    /// small ones. Other grids do not change.
    pub max_grid: Option<u32>,
    /// How long one submission may take, as far as that can be foreseen: what takes longer is cut. Half a second when
    /// not given; Windows resets a GPU after two.
    pub max_submit: Option<Duration>,
    /// Runs every dispatch on its own, in slices of at most this many workgroups, to run the code that cuts
    /// long dispatches on short ones.
    pub max_groups: Option<u64>,
    /// How long to wait for one submission before the GPU is given up; five minutes when not given.
    pub patience: Option<Duration>,
    pub autotune: Autotune,
    /// Lets kernels use the extensions that the adapter has.
    pub extensions: bool,
    /// Runs shaders with bounds checks.
    pub checked: bool,
    /// Fills temporaries with NaN and surrounds tensors with it, so that kernels which read or write what
    /// they should not are found. For checking, not for use.
    pub poison: bool,
    /// Compiles shaders so that they [record](Gpu::record) what one workgroup does, and takes the kernels of a GPU even
    /// on a software adapter. Such a device runs no plans.
    pub record: bool,
}

/// How long a submission may take: a quarter of what Windows allows, and short enough for a desktop to be drawn.
const MAX_SUBMIT: Duration = Duration::from_millis(500);

/// A GPU as a device.
pub struct Gpu {
    pub(super) context: Context,
    pub(super) target: Target,
    pub(super) pipelines: Pipelines,
    pub(super) tuner: Tuner,
    /// The kernel variant that is forced on ops which have it.
    pub(super) variant: Option<String>,
    pub(super) memory: Memory,
    pub(super) uploader: Uploader,
    pub(super) readback: Readback,
    pub(super) plans: Vec<Loaded>,
    pub(super) step_buffer: Buffer,
    pub(super) step_group: BindGroup,
    /// Where [sanitizers] report, or a [recorder] keeps its record.
    pub(super) report: Buffer,
    /// Where a slice of a dispatch begins.
    pub(super) slices: Buffer,
    pub(super) limits: Limits,
    pub(super) poison: bool,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// When there is none, none of the wanted name, or it lacks a needed limit.
    pub fn open(options: GpuOptions) -> Result<Self, DeviceError> {
        let opened = adapter::open(options.adapter.as_deref(), options.limits, options.extensions)?;
        let context = Context::new(opened, options.patience.unwrap_or(PATIENCE));
        let mut target = context.entry.target.clone();
        if options.record {
            target.software = false;
        }
        let limits = context.device.limits();
        // One storage buffer more than kernels use.
        let has_room = limits.max_storage_buffers_per_shader_stage > adapter::STORAGE_BUFFERS;
        if options.record && !has_room {
            return Err(DeviceError::Limit {
                adapter: context.entry.name.clone(),
                limit: "max_storage_buffers_per_shader_stage",
                offered: limits.max_storage_buffers_per_shader_stage.into(),
                needed: u64::from(adapter::STORAGE_BUFFERS) + 1,
            });
        }
        let watched = options.checked && options.poison && has_room;
        let pipelines = Pipelines::new(&context, options.checked, watched, options.record);
        let report = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("report"),
            size: if options.record { recorder::BYTES } else { size_of::<u32>() as u64 },
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let uniform = |label, size| {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let step_buffer = uniform("step", steps::BYTES);
        let slices = uniform("slice", slices::BYTES);
        let step =
            BufferBinding { buffer: &step_buffer, offset: 0, size: NonZero::new(size_of::<Step>() as u64) };
        let entries = [
            (0, step),
            (slices::BINDING, slices.as_entire_buffer_binding()),
            (sanitizers::BINDING, report.as_entire_buffer_binding()),
        ]
        .map(|(binding, part)| wgpu::BindGroupEntry { binding, resource: BindingResource::Buffer(part) });
        let step_group = context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &pipelines.step_layout,
            entries: if watched || options.record { &entries } else { &entries[..2] },
        });
        let seconds = options.max_submit.unwrap_or(MAX_SUBMIT).as_secs_f64();
        let entry = &context.entry;
        let kept_under =
            format!("{} {} {} lal {}", entry.name, entry.backend, entry.driver, env!("CARGO_PKG_VERSION"));
        let mut gpu = Self {
            tuner: Tuner::new(options.autotune, kept_under, entry.software),
            memory: Memory::new(entry.memory, options.poison),
            target,
            pipelines,
            variant: None,
            uploader: Uploader::default(),
            readback: Readback::default(),
            plans: Vec::new(),
            step_buffer,
            step_group,
            report,
            slices,
            limits: Limits { seconds, groups: options.max_groups },
            poison: options.poison,
            context,
        };
        gpu.confine(options.max_binding_bytes, options.max_grid);
        Ok(gpu)
    }

    /// From the next load on, uses at most so much of what the adapter takes, as [`GpuOptions::max_binding_bytes`] and
    /// [`GpuOptions::max_grid`] say; compiled kernels stay.
    pub fn confine(&mut self, max_binding_bytes: Option<u64>, max_grid: Option<u32>) {
        let offered = &self.context.entry.target;
        let most = (max_binding_bytes.unwrap_or(u64::MAX), max_grid.unwrap_or(u32::MAX));
        self.target.max_binding_bytes = offered.max_binding_bytes.min(most.0);
        self.target.max_grid = offered.max_grid.min(most.1);
    }

    /// The adapter: its name, backend and driver.
    pub fn adapter(&self) -> &adapter::AdapterEntry {
        &self.context.entry
    }

    /// What kernels may use of the adapter.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A rasteriser on the CPU: the CPU device is faster.
    pub fn software(&self) -> bool {
        self.target.software
    }

    /// Bytes that the driver's memory blocks for this device take, by the allocator's own books; `None` where
    /// the backend keeps none (Metal).
    pub fn reserved_bytes(&self) -> Option<u64> {
        self.context.device.generate_allocator_report().map(|report| report.total_reserved_bytes)
    }

    /// The kernels chosen so far for ops that have several. Given back to [`Autotune::On`], they make a later
    /// run equal to the bit.
    pub fn choices(&self) -> &Choices {
        &self.tuner.used
    }

    /// From the next load on, ops that have a kernel variant of this name use it.
    pub fn force_variant(&mut self, variant: Option<&str>) {
        self.variant = variant.map(Into::into);
    }

    /// From the next load on, compiles other text for a shader; `None` goes back to its own.
    pub fn substitute(&mut self, substitute: Option<Substitute>) {
        self.pipelines.substitute(substitute);
    }

    /// Submissions so far: of steps, of their slices, of copies.
    pub fn submissions(&self) -> u64 {
        self.context.submissions()
    }

    /// Forgets all plans and tensors; compiled kernels stay. Plans loaded before are unknown afterwards.
    pub fn clear(&mut self) {
        // What is under way holds on to its memory. An error stays, and is met by the next call.
        let _ = self.context.wait_for_all();
        self.plans.clear();
        self.readback = Readback::default();
        self.memory = Memory::new(self.context.entry.memory, self.poison);
    }

    /// What the plan has read or written that it should not have since this was last asked, if anything. Needs
    /// [`GpuOptions::poison`] and a plan of a single op, whose temporaries share no memory. With
    /// [`GpuOptions::checked`] every index is compared with the length of its array, and races in workgroup
    /// memory are noticed; without it, writes just after a tensor are found by the marks that they erase.
    pub fn stray_access(&mut self, plan: PlanId) -> Result<Option<String>, DeviceError> {
        if let Some(reports) = &self.pipelines.watched
            && let Some(message) = reports.message(read_words(&self.context, &self.report, 0, 1)?[0])
        {
            self.context.queue.write_buffer(&self.report, 0, &[0; 4]);
            return Ok(Some(message));
        }
        let loaded = self.loaded(plan)?;
        for &tensor in loaded.plan.nodes.iter().flat_map(|node| &node.outputs).filter(|_| self.poison) {
            let held = &loaded.tensors[tensor];
            let end = held.offset + 4 * held.len as u64;
            let margin = read_words(&self.context, &held.buffer, end, MARGIN as usize / 4)?;
            if margin.iter().any(|&word| word != SENTINEL) {
                let storage = &loaded.plan.tensors[tensor].storage;
                return Ok(Some(format!("writes beyond the end of {storage:?}")));
            }
        }
        Ok(None)
    }

    pub(super) fn loaded(&self, plan: PlanId) -> Result<&Loaded, DeviceError> {
        let unknown = || DeviceError::Unknown { kind: "plan", name: format!("#{}", plan.0) };
        self.plans.get(plan.0).ok_or_else(unknown)
    }

    pub(super) fn upload(
        &mut self,
        name: &str,
        held: &TensorBuffer,
        expected: usize,
        data: &[u8],
    ) -> Result<(), DeviceError> {
        if data.len() != 4 * expected {
            return Err(DeviceError::Length { name: name.into(), expected, got: data.len() / 4 });
        }
        self.uploader.write(&self.context, &held.buffer, held.offset, data)?;
        self.context.check()
    }
}
