//! The roofline (Williams, Waterman & Patterson 2009): what this device can reach, measured on the spot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::MeasureError;
use super::probes::multiply_add::{Form, MultiplyAdd, ROUNDS};
use super::probes::stream::{Copy, Walk};
use super::subject::Subject;
use crate::engine::device::timeline::Detail;
use crate::engine::device::{DeviceError, HostData};
use crate::engine::op::{AnyOp, Cost, Record};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;

/// The limits of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofline {
    /// Floating-point operations per second of multiply-adds in registers, in billions.
    pub gflops: f64,
    /// Bytes per second of a copy between buffers larger than caches, in billions.
    pub gbps: f64,
}

/// Runs of each probe; the best counts. Short probes run more often, so that a busy moment does not hide
/// what the device can do.
const RUNS: usize = 6;
const ENOUGH: Duration = Duration::from_millis(300);
/// Threads that fill every multiprocessor of a large GPU, and every core of a processor.
const THREADS: usize = 1 << 19;
const THREADS_OF_A_CPU: usize = 1 << 14;

impl Roofline {
    /// Measures a device by two short probes. Plans loaded before are forgotten.
    ///
    /// # Errors
    /// When the device fails or has less than a megabyte of memory.
    pub fn measure(device: &mut dyn Subject) -> Result<Self, MeasureError> {
        let threads = if device.slow() { THREADS_OF_A_CPU } else { THREADS };
        let (cost, us) =
            best(device, Arc::new(MultiplyAdd { form: Form::Fma, threads, rounds: ROUNDS }), threads)?;
        let gflops = cost.flops as f64 / us / 1e3;

        let most = device.max_tensor_bytes().min(if device.slow() { 128 << 20 } else { 1 << 30 });
        let mut len = (most / 4 + 1).next_power_of_two() as usize / 2;
        loop {
            match best(device, Arc::new(Copy(Walk::once(len))), len) {
                Ok((cost, us)) => return Ok(Self { gflops, gbps: cost.bytes as f64 / us / 1e3 }),
                // A smaller device is measured with smaller buffers.
                Err(MeasureError::Device(DeviceError::Memory { .. } | DeviceError::Limit { .. }))
                    if len > 1 << 18 =>
                {
                    len /= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The least microseconds that work of this cost can take.
    pub fn least_us(&self, cost: Cost) -> f64 {
        (cost.flops as f64 / self.gflops).max(cost.bytes as f64 / self.gbps) / 1e3
    }

    /// FLOPs per byte above which arithmetic and not memory is the limit.
    pub fn ridge(&self) -> f64 {
        self.gflops / self.gbps
    }
}

/// The cost of one application to `len` numbers, and the fewest microseconds it took.
fn best(device: &mut dyn Subject, op: Arc<dyn AnyOp>, len: usize) -> Result<(Cost, f64), MeasureError> {
    device.clear();
    let mut tape = Tape::new("probe");
    let x = tape.input("x", Spec::f32([len]));
    tape.record(op, &[x])?;
    let plan = Arc::new(Plan::new(&tape, &[])?);
    let id = device.load(&plan, 0)?;
    // Memory that was never written may be one page of zeros, seen many times.
    device.set_input(id, "x", HostData::F32(&vec![1.0; len]))?;
    let mut least = f64::MAX;
    let begun = Instant::now();
    for run in 0.. {
        if run >= RUNS && begun.elapsed() > ENOUGH {
            break;
        }
        let timeline = device.profile(id, 0, &Step::default(), Detail::Launches)?;
        least = least.min(timeline.launches_us());
    }
    device.clear();
    Ok((plan.cost(0), least))
}
