//! The GPU through wgpu: Vulkan, Metal or DX12.
//!
//! Everything is made when a plan is [loaded](Device::load): buffers, pipelines, bind groups. A step writes one
//! small uniform, records one compute pass and submits it, in several parts where it would take long; results arrive
//! a little later.

pub mod adapter;
pub mod autotune;
mod context;
mod launch;
mod launch_list;
mod load;
mod memory;
mod open;
mod pipelines;
pub mod recorder;
mod rewrite;
mod runner;
mod sanitizers;
pub mod shader;
mod slices;
mod steps;
pub mod substitute;
mod timestamps;
mod transfer;
mod under_way;

use std::sync::Arc;

use wgpu::CommandEncoder;

pub use self::context::catches_panics;
pub use self::open::{Gpu, GpuOptions};
use self::runner::{Piece, Runner, begin};
use self::transfer::read_words;
use super::timeline::{Detail, Timeline};
use super::{Device, DeviceError, HostData, PART, PlanId, Results};
use crate::engine::plan::{Plan, Storage};
use crate::engine::step::Step;
use crate::engine::tensor::Dtype;

impl Device for Gpu {
    fn describe(&self) -> String {
        format!("{} ({})", self.context.entry.name, self.context.entry.backend)
    }

    fn check_memory(&self, bytes: u64) -> Result<(), DeviceError> {
        self.memory.check(&self.context, bytes)
    }

    fn load(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<PlanId, DeviceError> {
        self.context.check()?;
        let loaded = self.prepare(plan, seed)?;
        self.context.check()?;
        self.plans.push(loaded);
        Ok(PlanId(self.plans.len() - 1))
    }

    fn set_input(&mut self, plan: PlanId, name: &str, data: HostData) -> Result<(), DeviceError> {
        let loaded = self.loaded(plan)?;
        let unknown = |kind| DeviceError::Unknown { kind, name: name.into() };
        let is_it = |storage: &Storage| matches!(storage, Storage::Input(n) if n == name);
        let tensor =
            loaded.plan.tensors.iter().position(|p| is_it(&p.storage)).ok_or_else(|| unknown("input"))?;
        let (held, spec) = (loaded.tensors[tensor].clone(), loaded.plan.tensors[tensor].spec);
        let bytes: &[u8] = match (spec.dtype, data) {
            (Dtype::F32, HostData::F32(x)) => bytemuck::cast_slice(x),
            (Dtype::U32, HostData::U32(x)) => bytemuck::cast_slice(x),
            _ => return Err(unknown("input of that type")),
        };
        self.upload(name, &held, held.len, bytes)
    }

    fn plan(&self, plan: PlanId) -> Result<Arc<Plan>, DeviceError> {
        Ok(self.loaded(plan)?.plan.clone())
    }

    fn run_steps(&mut self, plan: PlanId, phase: usize, steps: &[Step]) -> Result<(), DeviceError> {
        self.context.check()?;
        self.loaded(plan)?;
        let Self { context, plans, readback, pipelines, uploader, slices, step_group, limits, .. } = self;
        let (context, loaded) = (&*context, &plans[plan.0]);
        let (program, launches) = (&loaded.program, loaded.program.list.phase(phase));
        let results = loaded.results(phase);
        let mut runner = Runner { context, pipelines, uploader, slices, step_group, limits: *limits };
        let record = |encoder: &mut CommandEncoder, piece: &Piece| {
            piece.record_all(&mut encoder.begin_compute_pass(&Default::default()));
        };
        let mut rest = steps;
        while !rest.is_empty() {
            let most = match loaded.plan.phases[phase].cleared.is_empty() {
                true => program.list.repeats(launches.clone(), limits).clamp(1, steps::MOST),
                false => 1,
            };
            let together;
            (together, rest) = rest.split_at(most.min(rest.len()));
            let is_read = rest.is_empty() && !results.is_empty();
            let encoder = begin(context, &self.step_buffer, loaded, phase, together);
            let mut staging = None;
            let end = |encoder: &mut CommandEncoder| {
                staging = is_read.then(|| readback.record(context, encoder, &results));
            };
            let last = match together.len() {
                1 => runner.run(encoder, program, launches.clone(), record, end)?.last,
                n => runner.repeat(encoder, program, launches.clone(), n, end)?,
            };
            if let Some(staging) = staging {
                readback.submitted(context, last, staging, loaded.result_specs(phase))?;
            }
        }
        context.check()
    }

    fn steps_at_once(&self) -> usize {
        steps::MOST
    }

    fn profile(
        &mut self,
        plan: PlanId,
        phase: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        self.time_run(plan, phase, step, detail)
    }

    fn results(&mut self, wait: bool) -> Result<Option<Results>, DeviceError> {
        self.readback.next(&self.context, wait)
    }

    fn read_parts(&mut self, name: &str, part: &mut dyn FnMut(&[f32])) -> Result<(), DeviceError> {
        let held = self.memory.persistent(name)?;
        for first in (0..held.len).step_by(PART) {
            let len = PART.min(held.len - first);
            let words = read_words(&self.context, &held.buffer, held.offset + 4 * first as u64, len)?;
            part(bytemuck::cast_slice(&words));
        }
        Ok(())
    }

    fn write(&mut self, name: &str, data: &[f32]) -> Result<(), DeviceError> {
        let held = self.memory.persistent(name)?.clone();
        self.upload(name, &held, held.len, bytemuck::cast_slice(data))
    }
}

/// A node with two operands, for tests of what needs one.
#[cfg(test)]
pub(super) fn test_node() -> crate::engine::plan::PlanNode {
    use crate::engine::tensor::Spec;
    let spec = Spec::f32([2, 3]);
    crate::engine::plan::PlanNode {
        op: Arc::new(crate::ops::add::Add),
        inputs: vec![0, 1],
        outputs: vec![0],
        in_specs: vec![spec; 2],
        out_specs: vec![spec],
        name: "test/add".into(),
    }
}
