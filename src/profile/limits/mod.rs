//! What a device can do, measured by kernels alone: the numbers that rooflines and predictions start from.

mod kept;
mod measure;
mod overheads;
pub mod rows;
mod stopwatch;
mod table;

use serde::{Deserialize, Serialize};

use super::roofline::Roofline;

/// What a device can do. A figure that it has no kernel for is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// As [`Device::describe`](crate::engine::device::Device::describe) has it: `NVIDIA H200 (Vulkan)`.
    pub device: String,
    /// Driver and its version; of a CPU its model.
    pub driver: String,
    /// The version of Lal that measured.
    pub version: String,
    /// The day it was measured: `2026-11-28`.
    pub date: String,
    pub arithmetic: Arithmetic,
    /// The kinds of products that matrix units offer, in the adapter's order.
    pub matrix_units: Vec<MatrixUnit>,
    /// By rising size.
    pub memory: Vec<Bandwidth>,
    pub workgroup_memory: Option<WorkgroupMemory>,
    pub reductions: Option<Reductions>,
    pub overheads: Option<Overheads>,
}

/// Multiply-adds per second of all multiprocessors, in registers. One is two floating-point operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// By `fma(a, b, c)` in f32.
    pub fma_per_s: f64,
    /// By `a * b + c` in f32.
    pub multiply_add_per_s: f64,
    /// `a * b + c` is rounded once: it is one instruction.
    pub multiply_add_is_fused: bool,
    /// `fma(a, b, c)` is rounded once. WGSL leaves that to the adapter.
    pub fma_is_fused: bool,
    /// By `fma(a, b, c)` in f16.
    pub f16_fma_per_s: Option<f64>,
    /// By a product of large matrices in f32, on the CPU.
    pub matmul_per_s: Option<f64>,
}

/// A product of small matrices that a subgroup computes together: `result` (m, n) += A (m, k) · B (k, n).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixUnit {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    /// The type of A and B: `f16`.
    pub operand: String,
    /// The type of the result: `f32`.
    pub result: String,
    /// Multiply-adds per second.
    pub multiply_add_per_s: Option<f64>,
    /// Why there is no such figure: WGSL has no words for it, or the results were wrong.
    pub problem: Option<String>,
}

/// Speed of storage memory when so many bytes are touched over and over: small sizes stay in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// All that is touched; of a copy one half is read and the other written.
    pub bytes: u64,
    pub read_bytes_per_s: f64,
    /// Bytes read and bytes written, together.
    pub copy_bytes_per_s: f64,
}

/// Bytes per second that all threads together read from workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkgroupMemory {
    /// Neighbouring threads read neighbouring words of 32 bits.
    pub words_bytes_per_s: f64,
    /// Neighbouring threads read words that are 2, 8 and 32 apart: of 32 banks 16, 4 and 1 are used.
    pub stride_2_bytes_per_s: f64,
    pub stride_8_bytes_per_s: f64,
    pub stride_32_bytes_per_s: f64,
    /// Neighbouring threads read neighbouring vectors of 128 bits.
    pub vectors_bytes_per_s: f64,
    /// Threads n and n^1 read the same vector of 128 bits. Counted for each of both.
    pub paired_vectors_bytes_per_s: f64,
}

/// Seconds for a workgroup of 256 threads to add up a number of each, with many workgroups at work: the time of all
/// over the number of sums.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reductions {
    /// By a tree in workgroup memory.
    pub workgroup_s: f64,
    /// Within subgroups first.
    pub subgroup_s: Option<f64>,
}

/// What it takes to have anything done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overheads {
    /// Seconds of a dispatch of one workgroup that waits for nothing.
    pub dispatch_s: f64,
    /// Seconds of one that waits for the one before it, which wrote the same buffer.
    pub dispatch_after_same_s: f64,
    /// Seconds of one that waits for the one before the last, which wrote the same buffer; the last wrote another.
    pub dispatch_after_other_s: f64,
    /// Seconds of the host's for recording a dispatch.
    pub record_s: f64,
    /// Seconds from handing over a submission with one dispatch until its end is seen.
    pub submission_s: f64,
    /// Seconds from recording a dispatch until 4 bytes of its result are in the host's memory.
    pub readback_s: f64,
    pub readback_bytes_per_s: f64,
    pub upload_bytes_per_s: f64,
    /// Seconds from the text of a shader that the driver has never seen to its pipeline.
    pub pipeline_s: f64,
}

impl Limits {
    /// Of the two forms, the faster.
    pub fn multiply_add_per_s(&self) -> f64 {
        self.arithmetic.fma_per_s.max(self.arithmetic.multiply_add_per_s)
    }

    /// Bytes per second of the largest copy.
    pub fn copy_bytes_per_s(&self) -> f64 {
        self.memory.last().map_or(0.0, |largest| largest.copy_bytes_per_s)
    }

    /// The roofline under these limits.
    pub fn roofline(&self) -> Roofline {
        Roofline { gflops: 2e-9 * self.multiply_add_per_s(), gbps: 1e-9 * self.copy_bytes_per_s() }
    }
}
