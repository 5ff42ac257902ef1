//! Which GPU: finding, choosing and opening an adapter.

use wgpu::{
    Adapter, AdapterInfo, Backend, Backends, CooperativeScalarType, DeviceType, ExperimentalFeatures,
    Features, Instance, InstanceDescriptor, Limits,
};

use crate::engine::device::DeviceError;
use crate::engine::dispatch::{Extensions, Target};
use crate::engine::memory::available;

/// What timing a whole run needs of an adapter; asked for where it is offered.
pub(super) const TIMESTAMPS: Features = Features::TIMESTAMP_QUERY;

/// What [`Extensions`] are called here.
const F16: Features = Features::SHADER_F16;
const SUBGROUPS: Features = Features::SUBGROUP;
const MATRICES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

/// Bytes of a block of device memory that small buffers share, the first and the largest; what is larger gets
/// memory of its own.
const SHARED_BLOCK: std::ops::Range<u64> = 4 << 20..8 << 20;

/// The most storage buffers that a kernel binds: what WebGPU offers everywhere.
pub(super) const STORAGE_BUFFERS: u32 = 8;

/// How much of an adapter is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceLimits {
    /// All that it offers.
    #[default]
    Adapter,
    /// WebGPU's defaults, so that what runs here runs on every adapter.
    WebGpu,
}

/// An adapter, for people and for choosing.
#[derive(Clone, Debug)]
pub struct AdapterEntry {
    /// What `--device` calls it, besides its place in the list.
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// A rasteriser on the CPU.
    pub software: bool,
    /// Bytes, where they can be found out.
    pub memory: Option<u64>,
    /// The products of small matrices that its subgroups compute together.
    pub matrices: Vec<MatrixShape>,
    /// What kernels may use of it.
    pub target: Target,
}

/// A product that matrix units offer: (m, n) += (m, k) · (k, n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    /// The types of the operands and of the result: `f16`, `f32`, `i32`, `u32`.
    pub operand: &'static str,
    pub result: &'static str,
}

/// An adapter that has been opened.
#[derive(Debug)]
pub struct Opened {
    pub entry: AdapterEntry,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// Every adapter of this machine, best first: discrete, then integrated, then software.
pub fn list() -> Vec<AdapterEntry> {
    found().iter().map(entry).collect()
}

/// Opens the adapter whose name holds `wanted` (in any case) or whose place in [`list`] it is; the best when
/// nothing is wanted.
///
/// With `extensions`, shaders may use all those that it has.
///
/// # Errors
/// When there is no adapter, none of that name, or it lacks a limit that every kernel relies on.
pub fn open(wanted: Option<&str>, limits: DeviceLimits, extensions: bool) -> Result<Opened, DeviceError> {
    let adapters = found();
    let adapter = choose(&adapters, wanted)?;
    let mut entry = entry(adapter);
    check_limits(&entry.name, &adapter.limits())?;
    let required_limits = match limits {
        DeviceLimits::Adapter => adapter.limits(),
        DeviceLimits::WebGpu => {
            entry.target = Target { software: entry.software, ..Target::WEBGPU };
            Limits::defaults()
        }
    };
    let asked =
        if extensions { adapter.features() & (F16 | SUBGROUPS | MATRICES) } else { Features::empty() };
    entry.target.extensions = Extensions {
        f16: asked.contains(F16),
        subgroups: asked.contains(SUBGROUPS),
        matrices: asked.contains(MATRICES),
    };
    let experimental_features = match asked.contains(MATRICES) {
        // SAFETY: cooperative matrices are used by kernels whose results are checked before they are trusted.
        true => unsafe { ExperimentalFeatures::enabled() },
        false => ExperimentalFeatures::disabled(),
    };
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("lal"),
        required_limits,
        // Noting times when asked to costs nothing when not.
        required_features: adapter.features() & TIMESTAMPS | asked,
        experimental_features,
        // Buffers are few and large: each gets memory of its own, and only the small ones share a block, which
        // for larger ones would stay a tenth empty.
        memory_hints: wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: SHARED_BLOCK },
        ..Default::default()
    });
    let (device, queue) = pollster::block_on(request)
        .map_err(|e| DeviceError::Gpu(format!("{} did not open: {e}", entry.name)))?;
    Ok(Opened { entry, device, queue })
}

fn found() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::VULKAN | Backends::METAL | Backends::DX12,
        // Validation layers are for debugging wgpu itself; they would slow every debug build.
        flags: wgpu::InstanceFlags::empty(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::all()));
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::VirtualGpu => 1,
        DeviceType::IntegratedGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

fn choose<'a>(adapters: &'a [Adapter], wanted: Option<&str>) -> Result<&'a Adapter, DeviceError> {
    let Some(wanted) = wanted else { return adapters.first().ok_or(DeviceError::NoAdapter) };
    let names: Vec<_> = adapters.iter().map(|a| a.get_info().name).collect();
    let by_name = || names.iter().position(|name| name.to_lowercase().contains(&wanted.to_lowercase()));
    let place = wanted.parse().ok().filter(|&i| i < adapters.len()).or_else(by_name);
    match place {
        Some(place) => Ok(&adapters[place]),
        None if adapters.is_empty() => Err(DeviceError::NoAdapter),
        None => Err(DeviceError::UnknownAdapter { wanted: wanted.into(), available: names.join(", ") }),
    }
}

fn entry(adapter: &Adapter) -> AdapterEntry {
    let info = adapter.get_info();
    let software = info.device_type == DeviceType::Cpu;
    AdapterEntry {
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info),
        software,
        memory: memory(adapter, &info),
        matrices: adapter.cooperative_matrix_properties().iter().map(matrix_shape).collect(),
        target: target(&adapter.limits(), software),
        name: info.name,
    }
}

fn target(limits: &Limits, software: bool) -> Target {
    let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let alignment = u64::from(limits.min_storage_buffer_offset_alignment);
    Target {
        max_binding_bytes: binding / alignment * alignment,
        binding_alignment: alignment,
        max_grid: limits.max_compute_workgroups_per_dimension,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        workgroup_size: limits.max_compute_invocations_per_workgroup,
        software,
        extensions: Extensions::NONE,
    }
}

fn matrix_shape(properties: &wgpu::CooperativeMatrixProperties) -> MatrixShape {
    let name = |kind| match kind {
        CooperativeScalarType::F32 => "f32",
        CooperativeScalarType::F16 => "f16",
        CooperativeScalarType::I32 => "i32",
        CooperativeScalarType::U32 => "u32",
    };
    let &wgpu::CooperativeMatrixProperties { m_size: m, n_size: n, k_size: k, ab_type, cr_type, .. } =
        properties;
    MatrixShape { m, n, k, operand: name(ab_type), result: name(cr_type) }
}

/// Fails when the adapter offers less than WebGPU's defaults of what kernels use.
fn check_limits(adapter: &str, offered: &Limits) -> Result<(), DeviceError> {
    let needed = Limits::defaults();
    macro_rules! check {
        ($($limit:ident),*) => {
            $(if offered.$limit < needed.$limit {
                return Err(DeviceError::Limit {
                    adapter: adapter.into(),
                    limit: stringify!($limit),
                    offered: offered.$limit.into(),
                    needed: needed.$limit.into(),
                });
            })*
        };
    }
    check!(
        max_storage_buffers_per_shader_stage,
        max_uniform_buffers_per_shader_stage,
        max_storage_buffer_binding_size,
        max_buffer_size,
        max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x,
        max_compute_workgroups_per_dimension
    );
    Ok(())
}

/// Bytes that an adapter can hold: a discrete one its own, the others what the machine has free.
fn memory(adapter: &Adapter, info: &AdapterInfo) -> Option<u64> {
    match info.device_type {
        DeviceType::Cpu | DeviceType::IntegratedGpu => Some(available()).filter(|&free| free < u64::MAX),
        _ if info.backend == Backend::Vulkan => vulkan_memory(adapter),
        _ => None,
    }
}

/// The largest heap that is local to the device.
#[cfg(not(target_vendor = "apple"))]
fn vulkan_memory(adapter: &Adapter) -> Option<u64> {
    // SAFETY: the handle is only asked for its properties and dropped before the adapter is.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = adapter.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance, which the adapter keeps alive.
    let memory = unsafe { instance.get_physical_device_memory_properties(adapter.raw_physical_device()) };
    // DEVICE_LOCAL is bit 0 of a heap's flags.
    memory.memory_heaps_as_slice().iter().filter(|heap| heap.flags.as_raw() & 1 != 0).map(|h| h.size).max()
}

#[cfg(target_vendor = "apple")]
fn vulkan_memory(_adapter: &Adapter) -> Option<u64> {
    None
}
