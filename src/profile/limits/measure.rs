//! Which probes make up the limits of a device.

use std::sync::Arc;

use super::stopwatch::{LARGEST, Stopwatch};
use super::{Arithmetic, Bandwidth, Limits, MatrixUnit, Overheads, Reductions, WorkgroupMemory};
use crate::engine::device::gpu::adapter::MatrixShape;
use crate::engine::device::{DeviceError, HostData};
use crate::engine::dispatch::Extensions;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::ops::matmul::Matmul;
use crate::profile::MeasureError;
use crate::profile::probes::Probe;
use crate::profile::probes::matrix::{Matrix, Tile};
use crate::profile::probes::multiply_add::{Form, MultiplyAdd, ROUNDS};
use crate::profile::probes::reduction::Reduction;
use crate::profile::probes::rounding::Rounding;
use crate::profile::probes::stream::{Copy, Read, Walk};
use crate::profile::probes::workgroup_memory::{Access, WorkgroupMemory as Probed};
use crate::profile::subject::Subject;
use crate::text::template::Date;

/// Bytes that are touched: from a part of a cache to more than any holds.
const SMALLEST: u64 = 1 << 20;
const LARGEST_MEMORY: u64 = 1 << 30;
const LARGEST_MEMORY_OF_A_CPU: u64 = 128 << 20;
/// Threads that fill every multiprocessor of a large GPU.
const THREADS: usize = 1 << 18;
/// Rounds of a thread in workgroup memory, and of a workgroup's reductions.
const WORKGROUP_ROUNDS: usize = 256;
/// Workgroups that a grid numbers along one axis everywhere.
const MOST_GROUPS: usize = 1 << 15;
/// Rows and columns of the matrices that the CPU multiplies.
const MATMUL: usize = 1024;

/// Parts of measuring, for progress.
const PARTS: u64 = 6;

impl Limits {
    /// Measures a device; a GPU must have been opened with its extensions. Plans loaded before are forgotten.
    /// `progress` hears how many parts of how many are done.
    ///
    /// # Errors
    /// When the device fails or a probe computes something wrong.
    pub fn measure(
        device: &mut dyn Subject,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, MeasureError> {
        let is_gpu = device.adapter().is_some();
        let mut limits = Self {
            device: device.describe(),
            driver: device.driver(),
            version: env!("CARGO_PKG_VERSION").into(),
            // The format is one that is known.
            date: Date::now().written("%F").unwrap_or_default(),
            ..Self::default()
        };
        let mut watch = Stopwatch::new(device);
        progress(0, PARTS);
        limits.arithmetic = arithmetic(&mut watch)?;
        progress(1, PARTS);
        limits.matrix_units = matrix_units(&mut watch)?;
        progress(2, PARTS);
        limits.memory = memory(&mut watch)?;
        progress(3, PARTS);
        if is_gpu {
            limits.workgroup_memory = Some(workgroup_memory(&mut watch)?);
            progress(4, PARTS);
            limits.reductions = Some(reductions(&mut watch)?);
            progress(5, PARTS);
            limits.overheads = Some(Overheads::measure(&mut watch)?);
        }
        watch.device.clear();
        progress(PARTS, PARTS);
        Ok(limits)
    }
}

fn arithmetic(watch: &mut Stopwatch) -> Result<Arithmetic, MeasureError> {
    let adapter = watch.device.adapter();
    let (is_gpu, has_f16) = (adapter.is_some(), adapter.is_some_and(|a| a.target.extensions.f16));
    let first = if watch.device.slow() { 1 << 10 } else { THREADS };
    let mut rate =
        |form| watch.rate([first, LARGEST], |threads| MultiplyAdd { form, threads, rounds: ROUNDS });
    Ok(Arithmetic {
        fma_per_s: rate(Form::Fma)?,
        multiply_add_per_s: rate(Form::TwoOps)?,
        f16_fma_per_s: has_f16.then(|| rate(Form::F16)).transpose()?,
        fma_is_fused: is_fused(watch, true)?,
        multiply_add_is_fused: is_fused(watch, false)?,
        matmul_per_s: (!is_gpu).then(|| matmul(watch)).transpose()?,
    })
}

/// Whether a multiply-add is rounded once.
fn is_fused(watch: &mut Stopwatch, fma: bool) -> Result<bool, MeasureError> {
    let device = &mut *watch.device;
    device.clear();
    let operands = Rounding::operands();
    let mut tape = Tape::new("rounding");
    let inputs = ["a", "b", "c"].map(|name| tape.input(name, Spec::f32([operands[0].len()])));
    let y = tape.apply_one(Rounding { fma }, &inputs)?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[y])?), 0)?;
    for (name, operand) in ["a", "b", "c"].iter().zip(&operands) {
        device.set_input(plan, name, HostData::F32(operand))?;
    }
    device.run(plan, 0, &Step::default())?;
    let results = device.results(true)?.unwrap_or_default();
    let y = results.first().map_or(&[][..], |y| y);
    Rounding::is_fused(y).ok_or_else(|| MeasureError::Wrong {
        probe: format!("{:?}", Rounding { fma }),
        device: device.describe(),
        wrong: y.len(),
        of: y.len(),
        expected: y.first().copied().unwrap_or_default(),
    })
}

/// Multiply-adds per second of a product of large matrices.
fn matmul(watch: &mut Stopwatch) -> Result<f64, MeasureError> {
    let matrix = Spec::f32([MATMUL, MATMUL]);
    let plan = watch.load(Arc::new(Matmul::default()), &[matrix; 2], MATMUL as f32)?;
    Ok(MATMUL.pow(3) as f64 / watch.best(plan, f64::MAX)? * 1e6)
}

fn matrix_units(watch: &mut Stopwatch) -> Result<Vec<MatrixUnit>, MeasureError> {
    let shapes = watch.device.adapter().map(|adapter| adapter.matrices.clone()).unwrap_or_default();
    shapes.iter().map(|shape| matrix_unit(watch, shape)).collect()
}

fn matrix_unit(watch: &mut Stopwatch, shape: &MatrixShape) -> Result<MatrixUnit, MeasureError> {
    let &MatrixShape { m, n, k, operand, result } = shape;
    let unit = MatrixUnit {
        m,
        n,
        k,
        operand: operand.into(),
        result: result.into(),
        multiply_add_per_s: None,
        problem: None,
    };
    let usable = watch.device.adapter().is_some_and(|a| a.target.extensions == Extensions::ALL);
    let tile = match Tile::of(shape) {
        Some(tile) if usable => tile,
        Some(_) => return Ok(MatrixUnit { problem: Some("wgpu cannot use it here".into()), ..unit }),
        None => return Ok(MatrixUnit { problem: Some("WGSL has no words for it".into()), ..unit }),
    };
    let measured = subgroups(watch, tile).and_then(|subgroups| {
        let probe = |groups| Matrix { tile, groups, subgroups: Some(subgroups) };
        watch.rate([1 << 6, MOST_GROUPS], probe)
    });
    Ok(match measured {
        Ok(rate) => MatrixUnit { multiply_add_per_s: Some(rate), ..unit },
        Err(error @ (MeasureError::Wrong { .. } | MeasureError::Device(DeviceError::Shader { .. }))) => {
            MatrixUnit { problem: Some(error.to_string()), ..unit }
        }
        Err(error) => return Err(error),
    })
}

/// How many subgroups a workgroup of the matrix probe has.
fn subgroups(watch: &mut Stopwatch, tile: Tile) -> Result<usize, MeasureError> {
    let one = Matrix { tile, groups: 1, subgroups: Some(1) };
    let (inputs, expected) = (one.inputs(), one.expected());
    let device = &mut *watch.device;
    device.clear();
    let mut tape = Tape::new("subgroups");
    let x = tape.input("x", inputs[0]);
    let y = tape.apply_one(one, &[x])?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[y])?), 0)?;
    device.set_input(plan, "x", HostData::F32(&vec![1.0; inputs[0].shape.len()]))?;
    device.run(plan, 0, &Step::default())?;
    let results = device.results(true)?.unwrap_or_default();
    let ratio = results.first().and_then(|y| y.first()).map_or(0.0, |y| y / expected);
    // What is no whole number is found out when the probe is checked.
    Ok(ratio.round().max(1.0) as usize)
}

fn memory(watch: &mut Stopwatch) -> Result<Vec<Bandwidth>, MeasureError> {
    let slow = watch.device.slow();
    let largest = if slow { LARGEST_MEMORY_OF_A_CPU } else { LARGEST_MEMORY };
    let largest = largest.min(watch.device.max_tensor_bytes());
    let mut all = Vec::new();
    let mut bytes = SMALLEST;
    while bytes <= largest {
        match bandwidth(watch, bytes) {
            Ok(bandwidth) => all.push(bandwidth),
            // A smaller device is measured up to what it holds.
            Err(MeasureError::Device(DeviceError::Memory { .. } | DeviceError::Limit { .. }))
                if !all.is_empty() =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
        bytes *= 2;
    }
    Ok(all)
}

/// Bandwidth of reads and of copies that touch `bytes` of memory.
fn bandwidth(watch: &mut Stopwatch, bytes: u64) -> Result<Bandwidth, MeasureError> {
    let numbers = bytes as usize / 4;
    if watch.device.slow() {
        // It has the time to go through them once, and threads that follow each other find what caches still hold.
        return Ok(Bandwidth {
            bytes,
            read_bytes_per_s: watch.rate([1, 1], |_| Read(Walk::once(numbers)))?,
            copy_bytes_per_s: watch.rate([1, 1], |_| Copy(Walk::once(numbers / 2)))?,
        });
    }
    // Small sizes are gone through several times from the first.
    let passes = [((SMALLEST << 6) / bytes).max(1) as usize, LARGEST];
    Ok(Bandwidth {
        bytes,
        read_bytes_per_s: watch.rate(passes, |passes| Read(Walk::new(numbers, THREADS, passes)))?,
        copy_bytes_per_s: watch.rate(passes, |passes| Copy(Walk::new(numbers / 2, THREADS, passes)))?,
    })
}

fn workgroup_memory(watch: &mut Stopwatch) -> Result<WorkgroupMemory, MeasureError> {
    let (first, rounds) = if watch.device.slow() { (8, 32) } else { (1 << 11, WORKGROUP_ROUNDS) };
    let mut rate = |access| watch.rate([first, MOST_GROUPS], |groups| Probed { access, groups, rounds });
    Ok(WorkgroupMemory {
        words_bytes_per_s: rate(Access::Words { stride: 1 })?,
        stride_2_bytes_per_s: rate(Access::Words { stride: 2 })?,
        stride_8_bytes_per_s: rate(Access::Words { stride: 8 })?,
        stride_32_bytes_per_s: rate(Access::Words { stride: 32 })?,
        vectors_bytes_per_s: rate(Access::Vectors)?,
        paired_vectors_bytes_per_s: rate(Access::PairedVectors)?,
    })
}

fn reductions(watch: &mut Stopwatch) -> Result<Reductions, MeasureError> {
    let has_subgroups = watch.device.adapter().is_some_and(|a| a.target.extensions.subgroups);
    let (first, rounds) = if watch.device.slow() { (8, 16) } else { (1 << 11, WORKGROUP_ROUNDS) };
    let mut seconds = |subgroups| {
        let rate = watch.rate([first, MOST_GROUPS], |groups| Reduction { subgroups, groups, rounds });
        rate.map(|rate| 1.0 / rate)
    };
    Ok(Reductions {
        workgroup_s: seconds(false)?,
        subgroup_s: has_subgroups.then(|| seconds(true)).transpose()?,
    })
}
