//! The adapter that workgroups are recorded on, and the GPU that they are explained for.

use super::device::DeviceArgs;
use super::failure::Usage;
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::explain::machine::Machine;

/// A GPU by name; an error lists them.
pub fn machine(name: &str) -> Result<Machine, String> {
    let names = || Machine::names().collect::<Vec<_>>().join(", ");
    Machine::named(name).ok_or_else(|| format!("there are no figures of {name:?}: choose one of {}", names()))
}

/// An adapter opened to record, and the GPU that it is; where its figures are not known, the one that is taken where
/// none is named.
pub fn recording(device: &DeviceArgs) -> anyhow::Result<(Gpu, Machine)> {
    let gpu = device.gpu(GpuOptions { record: true, ..GpuOptions::default() })?;
    let gpu = gpu.ok_or_else(|| {
        Usage("kernels are recorded on an adapter, a software one if need be: leave out --device cpu".into())
    })?;
    let machine = Machine::of_adapter(&gpu.adapter().name).unwrap_or_else(Machine::reference);
    Ok((gpu, machine))
}
