//! Running workgroups one by one, and reading what they left.

use super::rewriting::{first, room};
use super::{Anatomy, Record, Recordable};
use crate::engine::device::gpu::launch::Launch;
use crate::engine::device::gpu::open::Gpu;
use crate::engine::device::gpu::slices::Slice;
use crate::engine::device::gpu::steps::StepGroup;
use crate::engine::device::gpu::transfer::read_words;
use crate::engine::device::gpu::under_way::Work;
use crate::engine::device::{DeviceError, PlanId};
use crate::engine::step::Step;

impl Gpu {
    /// The dispatches of a node, as they can be recorded, in order.
    ///
    /// # Errors
    /// When the plan is unknown, or the GPU was not opened to
    /// [`record`](crate::engine::device::gpu::GpuOptions::record).
    pub fn recordable(&self, plan: PlanId, node: usize) -> Result<Vec<Recordable>, DeviceError> {
        self.launches(plan, node)?.into_iter().map(|launch| self.described(launch)).collect()
    }

    /// The kernel that was chosen for a node.
    pub fn variant_of(&self, plan: PlanId, node: usize) -> Result<&'static str, DeviceError> {
        let unknown = || DeviceError::Unknown { kind: "node", name: format!("#{node}") };
        self.loaded(plan)?.variants.get(node).copied().ok_or_else(unknown)
    }

    fn launches(&self, plan: PlanId, node: usize) -> Result<Vec<&Launch>, DeviceError> {
        let launches = &self.loaded(plan)?.program.launches;
        Ok(launches.iter().filter(|launch| launch.info.node == node).collect())
    }

    fn described(&self, launch: &Launch) -> Result<Recordable, DeviceError> {
        let recorded = launch.pipeline.recorded.as_ref();
        let missing = || DeviceError::Gpu("this GPU was not opened to record what shaders do".into());
        let recorded = recorded.ok_or_else(missing)?;
        Ok(Recordable {
            shader: launch.info.shader,
            grid: launch.info.grid,
            text: recorded.text.clone(),
            lines: recorded.lines.clone(),
            anatomy: recorded.anatomy.clone(),
        })
    }

    /// Runs one workgroup of a dispatch of a node, and returns what it did.
    pub fn record(
        &mut self,
        plan: PlanId,
        [node, dispatch]: [usize; 2],
        group: [u32; 3],
        step: &Step,
    ) -> Result<Record, DeviceError> {
        self.context.check()?;
        let launches = self.launches(plan, node)?;
        let unknown =
            || DeviceError::Unknown { kind: "dispatch", name: format!("#{dispatch} of node {node}") };
        let launch = *launches.get(dispatch).ok_or_else(unknown)?;
        let anatomy = self.described(launch)?.anatomy;
        let slice = Slice { first: group, groups: [1; 3] };
        self.context.queue.write_buffer(&self.step_buffer, 0, bytemuck::bytes_of(step));
        self.context.queue.write_buffer(&self.slices, 0, &slice.bytes(launch.info.grid));
        let mut encoder = self.context.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.report, 0, None);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let step = StepGroup { group: &self.step_group, step: 0 };
        launch.record_as(&mut pass, step, &launch.pipeline, slice.groups);
        drop(pass);
        let ticket = self.context.submit(Some(encoder.finish()), Work::Other("a workgroup that is recorded"));
        self.context.wait(ticket)?;

        self.read_record(&anatomy)
    }

    fn read_record(&self, anatomy: &Anatomy) -> Result<Record, DeviceError> {
        let invocations = anatomy.invocations as usize;
        let read = |word: u32, words: usize| {
            read_words(
                &self.context,
                &self.report,
                4 * u64::from(word) * invocations as u64,
                words * invocations,
            )
        };
        let runs = read(0, anatomy.blocks.len())?;
        let runs: Vec<Vec<u32>> = runs.chunks(invocations).map(<[u32]>::to_vec).collect();
        let mut record = Record { invocations, ..Record::default() };
        for (number, site) in anatomy.sites.iter().enumerate() {
            let turns = runs[site.turn].iter().copied().max().unwrap_or(0).min(room(anatomy)) as usize;
            let words = if turns > 0 { read(first(anatomy, number), turns)? } else { Vec::new() };
            let addresses: Vec<_> = words.into_iter().map(|word| word.checked_sub(1)).collect();
            let made = runs[site.block].iter().map(|&made| u64::from(made)).sum::<u64>();
            record.accesses += made;
            record.left_out += made.saturating_sub(addresses.iter().flatten().count() as u64);
            record.addresses.push(addresses);
        }
        Ok(Record { runs, ..record })
    }
}
