//! What changes from step to step without changing the plan.

use bytemuck::{Pod, Zeroable};

/// The small uniform that every kernel may read; `shaders/common/step.wgsl` declares the same fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// Seeds the dropout masks of this step; differs between micro-steps.
    pub seed: u32,
    /// Tokens already in the key-value cache when decoding.
    pub position: u32,
    pub learning_rate: f32,
    /// 1 - β₁ᵗ of AdamW, computed on the host in f64.
    pub correction1: f32,
    /// 1 - β₂ᵗ.
    pub correction2: f32,
    /// Uniform in [0, 1), for the token that is drawn.
    pub random: f32,
    /// Where in a list of drawn tokens it goes.
    pub place: u32,
    pub padding: u32,
}
