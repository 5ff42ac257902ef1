//! The adapter that workgroups are recorded on, and the GPU that they are explained for.

use super::device::{DeviceArgs, limits};
use super::failure::Usage;
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::explain::machine::{Machine, Peaks};
use crate::profile::limits::Limits;

/// A GPU by name; an error lists them.
pub fn machine(name: &str) -> Result<Machine, String> {
    let names = || Machine::names().collect::<Vec<_>>().join(", ");
    Machine::named(name).ok_or_else(|| format!("there are no figures of {name:?}: choose one of {}", names()))
}

/// An adapter opened to record, and the GPU that it is, at the speeds that `lal bench --limits` measured if it has run;
/// where its figures are not known, the one that is taken where none is named.
pub fn recording(device: &DeviceArgs) -> anyhow::Result<(Gpu, Machine)> {
    let gpu = device.gpu(GpuOptions { record: true, ..GpuOptions::default() })?;
    let gpu = gpu.ok_or_else(|| {
        Usage("kernels are recorded on an adapter, a software one if need be: leave out --device cpu".into())
    })?;
    let machine = match (Machine::of_adapter(&gpu.adapter().name), limits(&gpu)) {
        (Some(known), Some(limits)) => {
            let peaks = peaks(&limits, &known);
            known.measured(&peaks)
        }
        (known, _) => known.unwrap_or_else(Machine::reference),
    };
    Ok((gpu, machine))
}

/// What the limits of a device say of `machine`, which it is. What all its L1 together cannot hold and is read fastest
/// comes from L2.
fn peaks(limits: &Limits, machine: &Machine) -> Peaks {
    let of_all_l1 = f64::from(machine.multiprocessors) * machine.l1_bytes;
    let beyond = limits.memory.iter().filter(|size| size.bytes as f64 > of_all_l1);
    let roofline = limits.roofline();
    Peaks {
        gflops: Some(roofline.gflops),
        memory_gbps: Some(roofline.gbps),
        l2_gbps: beyond.map(|size| 1e-9 * size.read_bytes_per_s).reduce(f64::max),
        launch_us: limits.overheads.map(|overheads| 1e6 * overheads.dispatch_after_same_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::limits::{Arithmetic, Bandwidth, Overheads};

    #[test]
    fn a_machine_takes_what_was_measured_of_it() {
        let h100 = Machine::reference();
        let size = |mib: u64, read: f64| Bandwidth {
            bytes: mib << 20,
            read_bytes_per_s: read,
            copy_bytes_per_s: read / 2.0,
        };
        let overheads = Overheads { dispatch_after_same_s: 3.5e-6, ..Overheads::default() };
        let limits = Limits {
            arithmetic: Arithmetic { fma_per_s: 30e12, ..Arithmetic::default() },
            // Of 25 MB of L1 together, of L2, of the device's memory.
            memory: vec![size(8, 19e12), size(32, 6e12), size(1024, 3.2e12)],
            overheads: Some(overheads),
            ..Limits::default()
        };
        let peaks = peaks(&limits, &h100);
        let expected = [60_000.0, 1_600.0, 6_000.0, 3.5];
        let found = [peaks.gflops, peaks.memory_gbps, peaks.l2_gbps, peaks.launch_us];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found.unwrap() / expected - 1.0).abs() < 1e-9, "{peaks:?}");
        }
    }
}
