//! The uniform of what changes from step to step: it holds as many steps as one submission may run, and a dispatch is
//! bound to its own.

use wgpu::{BindGroup, ComputePass};

use crate::engine::step::Step;

/// The most steps of one submission: enough for its own cost to be little, and few enough for the device to begin while
/// the host still prepares the next.
pub(super) const MOST: usize = 8;

/// Bytes from one step to the next: where a uniform may begin on every adapter.
const STRIDE: usize = 256;

pub(super) const BYTES: u64 = (MOST * STRIDE) as u64;

/// The bind group of the steps, at one of them.
#[derive(Clone, Copy)]
pub(super) struct StepGroup<'a> {
    pub group: &'a BindGroup,
    /// Its number among the steps of the submission.
    pub step: usize,
}

impl StepGroup<'_> {
    pub fn bind(self, pass: &mut ComputePass) {
        pass.set_bind_group(1, self.group, &[(self.step * STRIDE) as u32]);
    }
}

/// The steps as the uniform holds them.
pub(super) fn bytes(steps: &[Step]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(steps.len() * STRIDE);
    for step in steps {
        bytes.resize(bytes.len().next_multiple_of(STRIDE), 0);
        bytes.extend(bytemuck::bytes_of(step));
    }
    bytes
}
