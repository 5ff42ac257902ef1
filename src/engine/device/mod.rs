//! Where plans run: the CPU twins or a GPU.

pub mod cpu;
pub mod gpu;
mod initial;
pub mod timeline;

use std::sync::Arc;

use super::plan::Plan;
use super::step::Step;
use timeline::{Detail, Timeline};

pub use initial::initial_values;

/// A plan that a device has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(pub(crate) usize);

/// What the host writes into an input.
#[derive(Clone, Copy, Debug)]
pub enum HostData<'a> {
    F32(&'a [f32]),
    U32(&'a [u32]),
}

/// The elements read back after a phase, one vector per result, in the plan's order; indices as numbers.
pub type Results = Vec<Vec<f32>>;

/// Elements of the parts in which large tensors are read back.
const PART: usize = 1 << 20;

/// Runs plans. Persistent tensors are shared by name among all plans of a device.
pub trait Device {
    /// What it is, for people: `NVIDIA H200 (Vulkan)`.
    fn describe(&self) -> String;

    /// Whether so many bytes of tensors, as [`Memory`](super::plan::Memory) counts them, fit next to those that are
    /// there: to ask before a plan is made.
    fn check_memory(&self, _bytes: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Prepares a plan: memory, kernels, bindings. Persistent tensors that are new start as their `Init` says,
    /// normals drawn from `seed`.
    fn load(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<PlanId, DeviceError>;

    /// The plan as this device runs it: perhaps [joined](Plan::joined).
    fn plan(&self, plan: PlanId) -> Result<Arc<Plan>, DeviceError>;

    /// Writes an input of a plan.
    fn set_input(&mut self, plan: PlanId, name: &str, data: HostData) -> Result<(), DeviceError>;

    /// Runs a phase. Results, if it has any, are queued for [`results`](Self::results).
    fn run(&mut self, plan: PlanId, phase: usize, step: &Step) -> Result<(), DeviceError> {
        self.run_steps(plan, phase, std::slice::from_ref(step))
    }

    /// Runs a phase once for each of these steps, one after the other. Results are those of the last step alone.
    fn run_steps(&mut self, plan: PlanId, phase: usize, steps: &[Step]) -> Result<(), DeviceError>;

    /// How many steps it is worth to give to [`run_steps`](Self::run_steps) at once: 1 where a run costs no more than
    /// what it computes.
    fn steps_at_once(&self) -> usize {
        1
    }

    /// Runs a phase as [`run`](Self::run) does, waits for it and says where the time went. Slower than a run,
    /// and equal to it to the bit.
    fn profile(
        &mut self,
        plan: PlanId,
        phase: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError>;

    /// The oldest results not yet taken; `None` when there are none or, without `wait`, none ready.
    fn results(&mut self, wait: bool) -> Result<Option<Results>, DeviceError>;

    /// Reads a persistent tensor.
    fn read(&mut self, name: &str) -> Result<Vec<f32>, DeviceError> {
        let mut elements = Vec::new();
        self.read_parts(name, &mut |part| elements.extend_from_slice(part))?;
        Ok(elements)
    }

    /// Reads a persistent tensor part by part, in order, without ever holding all of it.
    fn read_parts(&mut self, name: &str, part: &mut dyn FnMut(&[f32])) -> Result<(), DeviceError>;

    /// Overwrites a persistent tensor.
    fn write(&mut self, name: &str, data: &[f32]) -> Result<(), DeviceError>;
}

/// Why a device cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("no {kind} named `{name}` is loaded")]
    Unknown { kind: &'static str, name: String },
    #[error("`{name}` holds {expected} elements, not {got}")]
    Length { name: String, expected: usize, got: usize },
    #[error(
        "no GPU adapter was found; install a Vulkan driver (on Debian or Ubuntu, \
         `apt-get install mesa-vulkan-drivers` gives a software one) or use `--device cpu`"
    )]
    NoAdapter,
    #[error("no adapter is called `{wanted}`; there are: {available}")]
    UnknownAdapter { wanted: String, available: String },
    #[error("{adapter} offers {limit} = {offered}, but {needed} is needed")]
    Limit { adapter: String, limit: &'static str, offered: u64, needed: u64 },
    #[error(
        "{needed_mib} MiB of memory are needed, but {device} has {available_mib} MiB for it; \
         take a smaller --batch-size (with --grad-accum to make up for it), --block-size or model"
    )]
    Memory { device: String, needed_mib: u64, available_mib: u64 },
    #[error(
        "{name} needs a tensor of {elements} elements, more than shaders can count; take a smaller \
         --batch-size (with --grad-accum to make up for it), --block-size or model"
    )]
    Elements { name: String, elements: usize },
    #[error("a joined plan is for a GPU: the CPU runs the plan that it was made from")]
    Joined,
    #[error("shader {shader}: {message}")]
    Shader { shader: String, message: String },
    #[error("the GPU failed: {0}")]
    Gpu(String),
    #[error("{device} failed: {message}; under way: {running}. {GO_ON}")]
    Failed { device: String, message: String, running: String },
    #[error("{device} was lost: {reason}; under way: {running}. {GO_ON}")]
    Lost { device: String, reason: String, running: String },
    #[error("{device} did not finish within {seconds} s: {running}. {GO_ON}")]
    Stuck { device: String, seconds: f64, running: String },
}

/// What to do after a GPU has failed.
const GO_ON: &str = "What was saved before is intact: continue with --resume; if it happens again, with a smaller \
                     --max-submit-ms or --batch-size, a newer driver, or --device cpu";

impl DeviceError {
    pub(crate) fn memory(device: String, needed: u64, available: u64) -> Self {
        Self::Memory { device, needed_mib: needed.div_ceil(1 << 20), available_mib: available >> 20 }
    }
}
