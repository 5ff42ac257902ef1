//! A device under measurement: what measuring needs beyond running plans.

use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::engine::device::Device;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::gpu::Gpu;
use crate::engine::device::gpu::adapter::AdapterEntry;
use crate::engine::dispatch::Operands;
use crate::engine::op::AnyOp;

/// A device whose kernels can be measured one by one.
pub trait Subject: Device {
    /// The kernels that compute an op here, plainest first.
    fn variants(&self, op: &dyn AnyOp, operands: &Operands) -> Vec<&'static str>;

    /// From the next load on, ops that have this variant use it; `None` leaves the choice to the device.
    fn force_variant(&mut self, variant: Option<&str>);

    /// Forgets all plans and tensors.
    fn clear(&mut self);

    /// The adapter of a GPU.
    fn adapter(&self) -> Option<&AdapterEntry> {
        None
    }

    /// The driver and its version; of a CPU its model.
    fn driver(&self) -> String;

    /// It computes on the host's processor: megabytes and milliseconds are much there.
    fn slow(&self) -> bool;

    /// The most bytes that one tensor of a probe may have.
    fn max_tensor_bytes(&self) -> u64;
}

impl Subject for Gpu {
    fn variants(&self, op: &dyn AnyOp, operands: &Operands) -> Vec<&'static str> {
        op.kernels(operands, self.target()).iter().map(|kernel| kernel.variant).collect()
    }

    fn force_variant(&mut self, variant: Option<&str>) {
        Self::force_variant(self, variant);
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn adapter(&self) -> Option<&AdapterEntry> {
        Some(Self::adapter(self))
    }

    fn driver(&self) -> String {
        Self::adapter(self).driver.clone()
    }

    fn slow(&self) -> bool {
        self.software()
    }

    fn max_tensor_bytes(&self) -> u64 {
        self.target().max_binding_bytes
    }
}

impl Subject for Cpu<f32> {
    fn variants(&self, _op: &dyn AnyOp, _operands: &Operands) -> Vec<&'static str> {
        vec!["twin"]
    }

    fn force_variant(&mut self, _variant: Option<&str>) {}

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn driver(&self) -> String {
        let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
        system.ok().and_then(|s| s.cpus().first().map(|cpu| cpu.brand().to_owned())).unwrap_or_default()
    }

    fn slow(&self) -> bool {
        true
    }

    fn max_tensor_bytes(&self) -> u64 {
        u64::MAX
    }
}
