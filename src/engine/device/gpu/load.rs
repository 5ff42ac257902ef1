//! Preparing a plan: kernels chosen, memory allocated, everything bound.

use std::ops::Range;
use std::sync::Arc;

use wgpu::CommandEncoder;

use super::launch::{BindContext, Launch};
use super::open::Gpu;
use super::runner::{Loaded, Piece, Program, Runner};
use super::transfer::TensorBuffer;
use crate::engine::device::DeviceError;
use crate::engine::dispatch::Kernel;
use crate::engine::plan::{Plan, PlanNode};

impl Gpu {
    /// Chooses kernels, allocates and binds.
    pub(super) fn prepare(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<Loaded, DeviceError> {
        self.check_size(plan)?;
        let plan = &self.joined(plan);
        let kernels: Vec<_> =
            plan.nodes.iter().map(|node| node.op.kernels(&node.operands(), &self.target)).collect();
        let known: Vec<_> =
            plan.nodes.iter().zip(&kernels).map(|(node, kernels)| self.known(node, kernels)).collect();
        let needed: Vec<_> =
            kernels.iter().zip(&known).flat_map(|(k, known)| candidates(k, *known)).collect();

        let dispatches: Vec<_> = needed.iter().flat_map(|kernel| &kernel.dispatches).collect();
        self.pipelines.compile(&self.context, &dispatches)?;
        let scratch = needed.iter().map(|kernel| kernel.scratch).max().unwrap_or(0);
        let tensors = self.memory.load(&self.context, &mut self.uploader, plan, scratch, seed)?;

        let mut chosen = Vec::with_capacity(plan.nodes.len());
        for ((node, kernels), known) in plan.nodes.iter().zip(&kernels).zip(known) {
            let kernel = match known.or_else(|| self.known(node, kernels)) {
                Some(kernel) => kernel,
                None => self.tune(&tensors, node, kernels)?,
            };
            let missing = || DeviceError::Gpu(format!("{} has no kernel for this adapter", node.name));
            chosen.push((node, kernels.get(kernel).ok_or_else(missing)?));
        }
        self.tuner.save();
        let launches = self.bind(&tensors, &chosen)?;
        let first = |node: usize| launches.partition_point(|launch| launch.info.node < node);
        let of = |nodes: &Range<usize>| first(nodes.start)..first(nodes.end);
        let phases = plan.phases.iter().map(|s| (of(&s.nodes), s.name.clone())).collect();
        let program = Program::new(&self.context, launches, phases);
        let variants = chosen.iter().map(|(_, kernel)| kernel.variant).collect();
        Ok(Loaded { plan: plan.clone(), tensors, program, variants })
    }

    /// The plan with its nodes joined, unless tensors of it are here already and lie apart. With poison each tensor has
    /// a margin of its own.
    fn joined(&self, plan: &Arc<Plan>) -> Arc<Plan> {
        let most = self.target.max_binding_bytes.min(self.context.device.limits().max_buffer_size);
        let joined = if self.poison { None } else { plan.joined(most) };
        joined.filter(|joined| self.memory.takes(joined)).map_or_else(|| plan.clone(), Arc::new)
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
        tensors: &[TensorBuffer],
        kernels: &[(&PlanNode, &Kernel)],
    ) -> Result<Vec<Launch>, DeviceError> {
        let context = BindContext {
            context: &self.context,
            target: &self.target,
            tensors,
            scratch: self.memory.scratch(),
            // Shaders that compare indices with lengths must see the true ones.
            margin: if self.pipelines.watched.is_some() { 0 } else { self.memory.margin() },
        };
        context.bind(&mut self.pipelines, kernels)
    }

    /// The kernel to use for a node, if it need not be measured.
    fn known(&mut self, node: &PlanNode, kernels: &[Kernel]) -> Option<usize> {
        let forced = kernels.iter().position(|k| self.variant.as_deref() == Some(k.variant));
        forced.or_else(|| self.tuner.choose(node, kernels))
    }

    /// Measures the kernels of a node on its own memory; what it would overwrite is replaced by a spare.
    fn tune(
        &mut self,
        tensors: &[TensorBuffer],
        node: &PlanNode,
        kernels: &[Kernel],
    ) -> Result<usize, DeviceError> {
        let mut tensors = tensors.to_vec();
        for (output, _) in node.op.in_place() {
            let held = &mut tensors[node.outputs[output]];
            match self.memory.spare(&self.context, held.len) {
                Some(spare) => (held.buffer, held.offset) = (spare, 0),
                None => return Ok(self.tuner.give_up(node, kernels)),
            }
        }
        let mut programs = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            let launches = self.bind(&tensors, &[(node, kernel)])?;
            let phases = vec![(0..launches.len(), "choosing kernels".into())];
            programs.push(Program::new(&self.context, launches, phases));
        }
        let Self { context, tuner, pipelines, uploader, slices, step_group, limits, .. } = self;
        let (context, slices, step_group, limits) = (&*context, &*slices, &*step_group, *limits);
        let mut runner = Runner { context, pipelines, uploader, slices, step_group, limits };
        tuner.measure(node, kernels, |kernel, times| {
            let program = &programs[kernel];
            let encoder = context.device.create_command_encoder(&Default::default());
            // Only short kernels run several times, in one submission.
            let record = |encoder: &mut CommandEncoder, piece: &Piece| {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..times).for_each(|_| piece.record_all(&mut pass));
            };
            let submitted = runner.run(encoder, program, 0..program.launches.len(), record, |_| {})?;
            context.wait(submitted.last)?;
            // Recording takes longer than a short kernel: it does not count.
            Ok(submitted.begun.elapsed())
        })
    }
}

/// The kernels that may be used: the known one, else all.
fn candidates(kernels: &[Kernel], known: Option<usize>) -> &[Kernel] {
    known.and_then(|i| kernels.get(i..=i)).unwrap_or(kernels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Device;
    use crate::engine::device::gpu::autotune::{Autotune, Choices, Tuner};
    use crate::engine::device::gpu::{Gpu, GpuOptions};
    use crate::engine::step::Step;
    use crate::engine::tape::{Init, Parameter, Tape};
    use crate::ops::matmul::Matmul;

    #[test]
    fn kernels_are_measured_in_pieces_too() -> Result<(), Box<dyn std::error::Error>> {
        let mut tape = Tape::new("products");
        let [a, b] =
            ["a", "b"].map(|name| tape.parameter(name, [65, 65], Init::Normal(1.0), Parameter::Hidden));
        let product = tape.apply_one(Matmul::default(), &[a, b])?;
        let plan = Arc::new(Plan::new(&tape, &[product])?);
        let run = |groups, tuned: bool, variant: Option<&str>| -> Result<_, DeviceError> {
            let mut gpu = Gpu::open(GpuOptions { max_groups: groups, ..GpuOptions::default() })?;
            if tuned {
                let autotune = Autotune::On { file: None, given: Choices::new() };
                // As on an adapter that is no rasteriser.
                gpu.tuner = Tuner::new(autotune, "test".into(), false);
            }
            gpu.force_variant(variant);
            let id = gpu.load(&plan, 1)?;
            gpu.run(id, 0, &Step::default())?;
            Ok((gpu.results(true)?, gpu.choices().values().next().cloned()))
        };
        let (in_pieces, chosen) = match run(Some(2), true, None) {
            Err(DeviceError::NoAdapter) => return Ok(()),
            tuned => tuned?,
        };
        assert!(chosen.is_some());
        let (whole, _) = run(None, false, chosen.as_deref())?;
        assert!(whole.is_some() && in_pieces == whole);
        Ok(())
    }
}
