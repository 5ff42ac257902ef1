//! Runs an op alone on a GPU that records.

use std::sync::Arc;

use crate::engine::device::gpu::Gpu;
use crate::engine::device::gpu::recorder::{Record, Recordable};
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::dispatch::Operand;
use crate::engine::op::{AnyOp, OpError, Record as _};
use crate::engine::plan::{Plan, PlanNode};
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::{Dtype, Spec};
use crate::engine::twin::Elements;
use crate::profile::workload::scattered;

/// Why nothing could be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the op does not fit its operands: {0}")]
    Plan(#[from] OpError),
}

/// An op and its operands.
#[derive(Clone, Debug)]
pub struct Work {
    pub op: Arc<dyn AnyOp>,
    pub specs: Vec<Spec>,
    pub inputs: Vec<Elements<f32>>,
    pub step: Step,
}

impl Work {
    /// A node of a plan, with operands of its own: addresses rarely depend on what the numbers are.
    pub fn of_node(node: &PlanNode) -> Self {
        let of = |spec: &Spec| match spec.dtype {
            // Positive, as second moments must be.
            Dtype::F32 => Elements::Real(vec![0.5; spec.shape.len()]),
            Dtype::U32 => Elements::Index(scattered(spec.shape.len(), LEAST_VOCABULARY)),
        };
        // The middle of the shortest block.
        let step = Step {
            position: 16,
            learning_rate: 1e-3,
            correction1: 0.1,
            correction2: 0.01,
            ..Step::default()
        };
        Self {
            op: node.op.clone(),
            specs: node.in_specs.clone(),
            inputs: node.in_specs.iter().map(of).collect(),
            step,
        }
    }
}

/// The smallest vocabulary of any preset: an index below it is valid in all of them.
const LEAST_VOCABULARY: usize = 65;

/// An op that is loaded to be recorded.
pub struct Loaded<'a> {
    gpu: &'a mut Gpu,
    plan: PlanId,
    at: usize,
    step: Step,
    pub node: PlanNode,
    /// The kernel that was chosen.
    pub variant: &'static str,
    pub dispatches: Vec<Recordable>,
}

impl<'a> Loaded<'a> {
    /// Loads an op with the variant, or with the one that is taken without measuring. The GPU must have been opened to
    /// [`record`](crate::engine::device::gpu::GpuOptions::record); plans loaded before are forgotten.
    pub fn new(gpu: &'a mut Gpu, work: &Work, variant: Option<&str>) -> Result<Self, RecordError> {
        let mut tape = Tape::new("explained");
        let names: Vec<_> = (0..work.inputs.len()).map(|i| format!("input {i}")).collect();
        let vars: Vec<_> =
            names.iter().zip(&work.specs).map(|(name, &spec)| tape.input(name, spec)).collect();
        let outputs = tape.record(work.op.clone(), &vars)?;
        let plan = Arc::new(Plan::new(&tape, &outputs)?);
        let name = work.op.info().name;
        let of_op = plan.nodes.iter().rposition(|node| node.op.info().name == name);
        let at = of_op.ok_or_else(|| OpError::new(format!("{name} is left out of its own plan")))?;
        let node = plan.nodes[at].clone();
        gpu.clear();
        gpu.force_variant(variant);
        let loaded = gpu.load(&plan, 0);
        gpu.force_variant(None);
        let id = loaded?;
        for (name, elements) in names.iter().zip(&work.inputs) {
            let data = match elements {
                Elements::Real(x) => HostData::F32(x),
                Elements::Index(x) => HostData::U32(x),
            };
            gpu.set_input(id, name, data)?;
        }
        let dispatches = gpu.recordable(id, at)?;
        let variant = gpu.variant_of(id, at)?;
        Ok(Self { gpu, plan: id, at, step: work.step, node, variant, dispatches })
    }

    /// Bytes of the operands that a dispatch reads, and of those that it writes, each once, whatever the names that
    /// they are bound to. `is_made` says which of its accesses are made at all.
    pub fn bytes(&self, dispatch: usize, is_made: impl Fn(usize) -> bool) -> u64 {
        let kernels = self.node.op.kernels(&self.node.operands(), self.gpu.target());
        let Some(kernel) = kernels.iter().find(|kernel| kernel.variant == self.variant) else { return 0 };
        let sites = self.dispatches[dispatch].anatomy.sites.iter().enumerate();
        let sites: Vec<_> = sites.filter(|(number, _)| is_made(*number)).map(|(_, site)| site).collect();
        let mut moved = Vec::new();
        for binding in kernel.dispatches.get(dispatch).iter().flat_map(|dispatch| &dispatch.bindings) {
            let len = match binding.operand {
                Operand::In(i) => self.node.in_specs[i].shape.len(),
                Operand::Out(i) => self.node.out_specs[i].shape.len(),
                Operand::Scratch => kernel.scratch,
            };
            let range = binding.range.unwrap_or((0, len));
            for site in sites.iter().filter(|site| site.variable == binding.name) {
                let part = (binding.operand, range, site.writes);
                if !moved.contains(&part) {
                    moved.push(part);
                }
            }
        }
        moved.into_iter().map(|(_, (_, len), _)| 4 * len as u64).sum()
    }

    /// What a workgroup of a dispatch does.
    pub fn record(&mut self, dispatch: usize, group: [u32; 3]) -> Result<Record, DeviceError> {
        self.gpu.record(self.plan, [self.at, dispatch], group, &self.step)
    }
}
