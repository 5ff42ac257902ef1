//! Dispatches with their memory bound: all that is left to do at each step is to record them.

use std::num::NonZero;
use std::sync::Arc;

use wgpu::{BindGroup, BindGroupEntry, BindingResource, Buffer, BufferBinding, BufferUsages, ComputePass};

use super::context::Context;
use super::launch_list::LaunchInfo;
use super::pipelines::{Pipeline, Pipelines};
use super::shader::fault;
use super::steps::StepGroup;
use super::transfer::TensorBuffer;
use crate::engine::device::DeviceError;
use crate::engine::dispatch::{Binding, Dispatch, Kernel, Operand, Target};
use crate::engine::op::Cost;
use crate::engine::plan::PlanNode;

/// Alignment of a uniform binding on every adapter.
const UNIFORM_ALIGNMENT: usize = 256;

/// A dispatch ready to be recorded.
pub(super) struct Launch {
    pub info: LaunchInfo,
    pub pipeline: Arc<Pipeline>,
    /// What it is bound to, and whether it may write it.
    pub buffers: Vec<(Buffer, bool)>,
    group: BindGroup,
}

impl Launch {
    pub fn record(&self, pass: &mut ComputePass, step: StepGroup) {
        self.record_as(pass, step, &self.pipeline, self.info.grid);
    }

    /// Records it with another pipeline of the same layout and another grid.
    pub fn record_as(&self, pass: &mut ComputePass, step: StepGroup, pipeline: &Pipeline, grid: [u32; 3]) {
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        if pipeline.interface.step {
            step.bind(pass);
        }
        let [x, y, z] = grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// What bindings refer to.
pub(super) struct BindContext<'a> {
    pub context: &'a Context,
    pub target: &'a Target,
    /// The memory of each tensor of the plan.
    pub tensors: &'a [TensorBuffer],
    pub scratch: Option<&'a Buffer>,
    /// Bytes that bindings reach beyond the end of their tensor, to find stray accesses.
    pub margin: u64,
}

impl BindContext<'_> {
    /// Binds the kernels of nodes, given in the order they run, and their parameters.
    pub fn bind(
        &self,
        pipelines: &mut Pipelines,
        kernels: &[(&PlanNode, &Kernel)],
    ) -> Result<Vec<Launch>, DeviceError> {
        let mut uniform_bytes = Vec::new();
        let mut prepared = Vec::new();
        for (of, &(node, kernel)) in kernels.iter().enumerate() {
            let name = Arc::<str>::from(node.name.as_str());
            for (index, dispatch) in kernel.dispatches.iter().enumerate() {
                let pipeline = pipelines.get(self.context, dispatch)?;
                let params = pipeline.interface.pack(dispatch)?;
                let offset = uniform_bytes.len();
                uniform_bytes.extend(&params);
                uniform_bytes.resize(uniform_bytes.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
                prepared.push((of, index, name.clone(), pipeline, offset as u64));
            }
        }
        let uniforms = self.uniform("params", &uniform_bytes);
        let bound = |(of, index, name, pipeline, offset): (usize, usize, _, Arc<Pipeline>, u64)| {
            let (node, kernel) = kernels[of];
            let dispatch = &kernel.dispatches[index];
            self.check_grid(dispatch)?;
            let size = pipeline.interface.params().and_then(|(_, bytes)| NonZero::new(bytes));
            let params = BufferBinding { buffer: &uniforms, offset, size };
            let (group, buffers) = self.group(node, kernel, dispatch, &pipeline, params)?;
            let (shader, grid) = (dispatch.shader.name, dispatch.grid);
            let cost = share(node.cost(), kernel.dispatches.len());
            let info = LaunchInfo { node: of, index, name, shader, cost, grid };
            Ok(Launch { info, pipeline, buffers, group })
        };
        prepared.into_iter().map(bound).collect()
    }

    /// A uniform buffer that holds these bytes.
    fn uniform(&self, label: &str, bytes: &[u8]) -> Buffer {
        let buffer = self.context.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.len().max(UNIFORM_ALIGNMENT) as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.context.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    fn group(
        &self,
        node: &PlanNode,
        kernel: &Kernel,
        dispatch: &Dispatch,
        pipeline: &Pipeline,
        params: BufferBinding,
    ) -> Result<(BindGroup, Vec<(Buffer, bool)>), DeviceError> {
        let wrong = |message| fault(dispatch.shader.name, message);
        let mut bound: Vec<(&Binding, BufferBinding, bool)> = Vec::with_capacity(dispatch.bindings.len());
        for binding in &dispatch.bindings {
            let slot = pipeline.interface.storage[binding.name];
            let part = self.part(node, kernel, binding, slot.least_bytes).map_err(wrong)?;
            check_access(node, binding, slot.read_only).map_err(wrong)?;
            let clash =
                bound.iter().find(|(_, other, ro)| other.buffer == part.buffer && *ro != slot.read_only);
            if let Some((other, ..)) = clash {
                let message = format!(
                    "`{}` and `{}` are one buffer, read and written at once",
                    other.name, binding.name
                );
                return Err(wrong(message));
            }
            bound.push((binding, part, slot.read_only));
        }
        let buffers = bound.iter().map(|(_, part, read_only)| (part.buffer.clone(), !read_only)).collect();
        let entry = |binding, part| BindGroupEntry { binding, resource: BindingResource::Buffer(part) };
        let storage =
            bound.into_iter().map(|(b, part, _)| entry(pipeline.interface.storage[b.name].binding, part));
        let params = pipeline.interface.params().map(|(binding, _)| entry(binding, params));
        let entries: Vec<_> = storage.chain(params).collect();
        let layout = &pipeline.layout;
        let group = wgpu::BindGroupDescriptor { label: Some(&node.name), layout, entries: &entries };
        Ok((self.context.device.create_bind_group(&group), buffers))
    }

    /// The part of a buffer that a binding means, or what is wrong with it.
    fn part(
        &self,
        node: &PlanNode,
        kernel: &Kernel,
        binding: &Binding,
        least: u64,
    ) -> Result<BufferBinding<'_>, String> {
        let name = binding.name;
        let missing = || format!("`{name}` is bound to {:?}, which this node lacks", binding.operand);
        let tensor =
            |tensors: &[usize], i: usize| tensors.get(i).map(|&p| &self.tensors[p]).ok_or_else(missing);
        let (buffer, start, len) = match binding.operand {
            Operand::In(i) => tensor(&node.inputs, i).map(|held| (&held.buffer, held.offset, held.len))?,
            Operand::Out(i) => tensor(&node.outputs, i).map(|held| (&held.buffer, held.offset, held.len))?,
            Operand::Scratch => (self.scratch.ok_or_else(missing)?, 0, kernel.scratch),
        };
        let (first, count) = binding.range.unwrap_or((0, len));
        if first + count > len {
            return Err(format!("`{name}` is bound to elements {first}..{} of {len}", first + count));
        }
        let (offset, mut bytes) = (start + 4 * first as u64, 4 * count as u64);
        if bytes > self.target.max_binding_bytes {
            return Err(format!(
                "`{name}` spans {bytes} bytes, but a binding holds {} on this adapter; it must be bound in parts",
                self.target.max_binding_bytes
            ));
        }
        if offset % self.target.binding_alignment != 0 {
            let alignment = self.target.binding_alignment;
            return Err(format!("`{name}` starts at byte {offset}, which is no multiple of {alignment}"));
        }
        if bytes < least {
            return Err(format!("`{name}` is bound to {bytes} bytes, but one of its elements takes {least}"));
        }
        if first + count == len {
            bytes += self.margin;
        }
        Ok(BufferBinding { buffer, offset, size: NonZero::new(bytes) })
    }

    fn check_grid(&self, dispatch: &Dispatch) -> Result<(), DeviceError> {
        let most = self.context.entry.target.max_grid;
        if dispatch.grid.iter().all(|&groups| groups <= most) {
            return Ok(());
        }
        let message =
            format!("a grid of {:?} workgroups exceeds the adapter's {most} along an axis", dispatch.grid);
        Err(fault(dispatch.shader.name, message))
    }
}

/// What one of `dispatches` may do of an op's work: one of two may do nearly all of it, many share it evenly.
fn share(cost: Cost, dispatches: usize) -> Cost {
    let share = |of: u64| if dispatches > 2 { 2 * of / dispatches as u64 } else { of };
    Cost { flops: share(cost.flops), bytes: share(cost.bytes) }
}

/// Fails when a shader writes an operand that its op only reads.
fn check_access(node: &PlanNode, binding: &Binding, read_only: bool) -> Result<(), String> {
    match binding.operand {
        Operand::In(i) if !read_only && !node.outputs.contains(&node.inputs[i]) => {
            Err(format!("`{}` may be written, but is bound to an input", binding.name))
        }
        _ => Ok(()),
    }
}
