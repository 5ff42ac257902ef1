//! Preparing a plan: kernels chosen, memory allocated, everything bound.

use std::sync::Arc;
use std::time::Instant;

use super::Gpu;
use super::launch::{Launch, Surroundings};
use super::memory::Held;
use crate::engine::device::DeviceError;
use crate::engine::dispatch::Kernel;
use crate::engine::plan::{Plan, PlanNode};

/// A plan that is ready to run.
pub(super) struct Loaded {
    pub plan: Arc<Plan>,
    /// The memory of each place.
    pub places: Vec<Held>,
    /// The launches of each node.
    pub launches: Vec<Vec<Launch>>,
    /// The kernel of each node, by name.
    pub variants: Vec<&'static str>,
}

impl Gpu {
    /// Chooses kernels, allocates and binds.
    pub(super) fn prepare(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<Loaded, DeviceError> {
        self.check_size(plan)?;
        let kernels: Vec<_> =
            plan.nodes.iter().map(|node| node.op.kernels(&node.operands(), &self.target)).collect();
        let known: Vec<_> =
            plan.nodes.iter().zip(&kernels).map(|(node, kernels)| self.known(node, kernels)).collect();
        let needed: Vec<_> =
            kernels.iter().zip(&known).flat_map(|(k, known)| candidates(k, *known)).collect();

        let dispatches: Vec<_> = needed.iter().flat_map(|kernel| &kernel.dispatches).collect();
        self.pipelines.compile(&self.context, &dispatches)?;
        let scratch = needed.iter().map(|kernel| kernel.scratch).max().unwrap_or(0);
        let places = self.memory.load(&self.context, &mut self.uploader, plan, scratch, seed)?;

        let mut chosen = Vec::with_capacity(plan.nodes.len());
        for ((node, kernels), known) in plan.nodes.iter().zip(&kernels).zip(known) {
            let kernel = match known.or_else(|| self.known(node, kernels)) {
                Some(kernel) => kernel,
                None => self.tune(&places, node, kernels)?,
            };
            let missing = || DeviceError::Gpu(format!("{} has no kernel for this adapter", node.name));
            chosen.push((node, kernels.get(kernel).ok_or_else(missing)?));
        }
        self.tuner.save();
        let launches = self.bind(&places, &chosen)?;
        let variants = chosen.iter().map(|(_, kernel)| kernel.variant).collect();
        Ok(Loaded { plan: plan.clone(), places, launches, variants })
    }

    /// Refuses what no kernel could be made for.
    fn check_size(&self, plan: &Plan) -> Result<(), DeviceError> {
        let (needed, entry) = (plan.memory().total(), &self.context.entry);
        if let Some(capacity) = entry.memory.filter(|&capacity| needed > capacity) {
            return Err(DeviceError::memory(entry.name.clone(), needed, capacity));
        }
        let len = |node: &PlanNode| {
            let specs = node.in_specs.iter().chain(&node.out_specs);
            specs.map(|spec| spec.shape.len()).max().unwrap_or(0)
        };
        match plan.nodes.iter().find(|node| u32::try_from(len(node)).is_err()) {
            Some(node) => Err(DeviceError::Elements { name: node.name.clone(), elements: len(node) }),
            None => Ok(()),
        }
    }

    fn bind(
        &mut self,
        places: &[Held],
        kernels: &[(&PlanNode, &Kernel)],
    ) -> Result<Vec<Vec<Launch>>, DeviceError> {
        let surroundings = Surroundings {
            context: &self.context,
            target: &self.target,
            places,
            scratch: self.memory.scratch(),
            // Shaders that compare indices with lengths must see the true ones.
            margin: if self.pipelines.watched.is_some() { 0 } else { self.memory.margin() },
        };
        surroundings.bind(&mut self.pipelines, kernels)
    }

    /// The kernel to use for a node, if it need not be measured.
    fn known(&mut self, node: &PlanNode, kernels: &[Kernel]) -> Option<usize> {
        let forced = kernels.iter().position(|k| self.variant.as_deref() == Some(k.variant));
        forced.or_else(|| self.tuner.choose(node, kernels))
    }

    /// Measures the kernels of a node on its own memory; what it would overwrite is replaced by a spare.
    fn tune(&mut self, places: &[Held], node: &PlanNode, kernels: &[Kernel]) -> Result<usize, DeviceError> {
        let mut places = places.to_vec();
        for (output, _) in node.op.in_place() {
            let held = &mut places[node.outputs[output]];
            match self.memory.spare(&self.context, held.len) {
                Some(spare) => held.buffer = spare,
                None => return Ok(self.tuner.give_up(node, kernels)),
            }
        }
        let each: Vec<_> = kernels.iter().map(|kernel| (node, kernel)).collect();
        let launches = self.bind(&places, &each)?;
        let Self { context, tuner, uploader, step_group, .. } = self;
        tuner.measure(node, kernels, |kernel, times| {
            let mut encoder = context.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for launch in (0..times).flat_map(|_| &launches[kernel]) {
                    launch.record(&mut pass, step_group);
                }
            }
            // Recording takes longer than a short kernel: it does not count.
            let commands = encoder.finish();
            let start = Instant::now();
            let submission = context.queue.submit([commands]);
            uploader.submitted();
            context.wait(Some(submission)).map(|()| start.elapsed())
        })
    }
}

/// The kernels that may be used: the known one, else all.
fn candidates(kernels: &[Kernel], known: Option<usize>) -> &[Kernel] {
    known.and_then(|i| kernels.get(i..=i)).unwrap_or(kernels)
}
