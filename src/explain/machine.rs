//! What a GPU offers: each of its multiprocessors in a cycle, and all of them together.

use serde::Serialize;

/// A device that kernels are explained for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// How it is asked for: `h100`.
    pub name: &'static str,
    /// Part of the name of its adapters: `H100`.
    #[serde(skip)]
    adapter: &'static str,
    pub multiprocessors: u32,
    pub clock_ghz: f64,
    /// Instructions of warps that a multiprocessor issues per cycle.
    pub issues: f64,
    /// Multiply-adds, integer operations and special functions of a multiprocessor per cycle.
    pub multiply_add_lanes: f64,
    pub integer_lanes: f64,
    pub special_lanes: f64,
    /// L1 of a multiprocessor: bytes per cycle, and its size in bytes.
    pub l1_bytes_per_cycle: f64,
    pub l1_bytes: f64,
    /// Bandwidth of L2 and of the device's memory, in GB/s.
    pub l2_gbps: f64,
    pub memory_gbps: f64,
    /// Microseconds of an empty dispatch.
    pub launch_us: f64,
    /// Where the figures are from.
    pub source: &'static str,
    /// Some of them were measured on the device itself.
    pub is_measured: bool,
}

/// What was measured of a device. What is left out stays as the data sheet has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peaks {
    /// Billions of floating-point operations per second, of multiply-adds in registers.
    pub gflops: Option<f64>,
    /// Billions of bytes per second of a copy larger than caches.
    pub memory_gbps: Option<f64>,
    /// Billions of bytes per second of reads that the second cache holds.
    pub l2_gbps: Option<f64>,
    /// Microseconds of an empty dispatch after another.
    pub launch_us: Option<f64>,
}

/// The figures of this and the other machines. Lanes: the table "Throughput of native arithmetic instructions" of
/// NVIDIA's CUDA programming guide, which counts results per cycle and multiprocessor by compute capability (8.0, 8.9,
/// 9.0); their four schedulers begin one instruction of a warp each. L1: 128 bytes per cycle, and what it holds with 32 to 64 KiB left for workgroup memory,
/// by the white papers. L2: about what is reached, half to two thirds of its 5,120 bytes per cycle (A100 white paper);
/// no data sheet says. An empty dispatch: a decoded token's 40 kernels on an H100 through Vulkan, 5 µs each.
const H100: Machine = Machine {
    name: "h100",
    adapter: "H100",
    multiprocessors: 132,
    clock_ghz: 1.98,
    issues: 4.0,
    multiply_add_lanes: 128.0,
    integer_lanes: 64.0,
    special_lanes: 16.0,
    l1_bytes_per_cycle: 128.0,
    l1_bytes: 192e3,
    l2_gbps: 5_500.0,
    memory_gbps: 3_350.0,
    launch_us: 5.0,
    source: "NVIDIA H100 SXM5 data sheet (67 TFLOP/s, 3.35 TB/s) and architecture white paper",
    is_measured: false,
};

const MACHINES: [Machine; 4] = [
    H100,
    Machine {
        name: "h200",
        adapter: "H200",
        memory_gbps: 4_800.0,
        source: "NVIDIA H200 SXM data sheet (67 TFLOP/s, 4.8 TB/s); the multiprocessors of the H100",
        ..H100
    },
    Machine {
        name: "a100",
        adapter: "A100",
        multiprocessors: 108,
        clock_ghz: 1.41,
        issues: 4.0,
        multiply_add_lanes: 64.0,
        integer_lanes: 64.0,
        special_lanes: 16.0,
        l1_bytes_per_cycle: 128.0,
        l1_bytes: 128e3,
        l2_gbps: 4_000.0,
        memory_gbps: 2_039.0,
        launch_us: 5.0,
        source: "NVIDIA A100 80GB SXM data sheet (19.5 TFLOP/s, 2,039 GB/s) and architecture white paper",
        is_measured: false,
    },
    Machine {
        name: "rtx4090",
        adapter: "RTX 4090",
        multiprocessors: 128,
        clock_ghz: 2.52,
        issues: 4.0,
        multiply_add_lanes: 128.0,
        integer_lanes: 64.0,
        special_lanes: 16.0,
        l1_bytes_per_cycle: 128.0,
        l1_bytes: 96e3,
        l2_gbps: 4_000.0,
        memory_gbps: 1_008.0,
        launch_us: 5.0,
        source: "NVIDIA Ada GPU architecture white paper (82.6 TFLOP/s, 1,008 GB/s)",
        is_measured: false,
    },
];

impl Machine {
    /// The one that is taken where none is named: an H100.
    pub fn reference() -> Self {
        H100
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        MACHINES.into_iter().find(|machine| machine.name == name)
    }

    /// The names that [`named`](Self::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MACHINES.into_iter().map(|machine| machine.name)
    }

    /// The one that an adapter of this name is, if it is known.
    pub fn of_adapter(name: &str) -> Option<Self> {
        MACHINES.into_iter().find(|machine| name.contains(machine.adapter))
    }

    /// The same with what was measured of it. Multiply-adds say at which clock it really runs.
    pub fn measured(mut self, peaks: &Peaks) -> Self {
        if let Some(gflops) = peaks.gflops {
            self.clock_ghz = gflops / (2.0 * self.multiply_add_lanes * f64::from(self.multiprocessors));
        }
        self.memory_gbps = peaks.memory_gbps.unwrap_or(self.memory_gbps);
        self.l2_gbps = peaks.l2_gbps.unwrap_or(self.l2_gbps);
        self.launch_us = peaks.launch_us.unwrap_or(self.launch_us);
        self.is_measured = self.is_measured || *peaks != Peaks::default();
        self
    }

    /// Where the figures are from, for a person.
    pub fn sources(&self) -> String {
        let measured = if self.is_measured { "; speeds as measured on this device" } else { "" };
        format!("{}{measured}", self.source)
    }

    /// Billions of floating-point operations per second, of multiply-adds.
    pub fn gflops(&self) -> f64 {
        2.0 * self.multiply_add_lanes * f64::from(self.multiprocessors) * self.clock_ghz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peaks of the data sheets, in TFLOP/s.
    #[test]
    fn figures_give_the_peaks_of_the_data_sheets() {
        for (name, tflops) in [("h100", 66.9), ("h200", 66.9), ("a100", 19.5), ("rtx4090", 82.6)] {
            let machine = Machine::named(name).unwrap();
            assert!((machine.gflops() / 1e3 - tflops).abs() < 0.06, "{name}: {}", machine.gflops());
            assert_eq!(Machine::of_adapter(&format!("NVIDIA {}", machine.adapter)), Some(machine));
        }
        let slower = Machine::reference().measured(&Peaks { gflops: Some(33_454.08), ..Peaks::default() });
        assert!((slower.clock_ghz - 0.99).abs() < 1e-9 && slower.sources().contains("measured"));
        assert_eq!(Machine::reference(), Machine::named("h100").unwrap());
    }
}
