//! How long each unit of a device is busy with a dispatch, and which of them binds.
//!
//! Units work side by side, so the busiest one sets the time. What is assumed:
//! - the multiprocessor with the most workgroups ends last, and workgroups are alike;
//! - a workgroup reads each sector once from L2, its other reads of it come from L1, if L1 can hold all it touches; no
//!   workgroup finds in L1 what another one read;
//! - of integer operations a compiler leaves half;
//! - memory moves each operand once: L2 holds what is read again;
//! - there are warps enough to hide latencies. Where few are resident, a kernel is slower than predicted.

use serde::Serialize;

use super::counted::Counted;
use super::machine::Machine;
use super::sectors::SECTOR;

/// The share of the integer operations in the text that is left after compilation: compilers compute common parts of
/// addresses once, and constant ones outside the loop. In a step of `matmul/tiled` with TILE 128, RADV leaves 18 of 36.
const INTEGERS_KEPT: f64 = 0.5;

/// A part of a device that can be what a kernel waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    MultiplyAdd,
    Special,
    Integer,
    /// Beginning instructions, of all kinds.
    Issue,
    WorkgroupMemory,
    L1,
    L2,
    Memory,
    /// Starting a dispatch.
    Launch,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::MultiplyAdd => "multiply-add",
            Self::Special => "special functions",
            Self::Integer => "integers",
            Self::Issue => "instructions",
            Self::WorkgroupMemory => "workgroup memory",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::Memory => "memory",
            Self::Launch => "starting it",
        }
    }
}

/// The time that a unit is busy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Busy {
    pub unit: Unit,
    pub us: f64,
}

/// A dispatch on a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// Longest first.
    pub units: Vec<Busy>,
    pub us: f64,
    /// Workgroups of the busiest multiprocessor.
    pub waves: u64,
    /// The share of the multiprocessors' time that has work: less than 1 where the last wave is not whole.
    pub filled: f64,
}

impl Prediction {
    /// The unit that binds.
    pub fn binds(&self) -> Unit {
        self.units[0].unit
    }

    /// The microseconds of a unit.
    pub fn us_of(&self, unit: Unit) -> f64 {
        self.units.iter().find(|busy| busy.unit == unit).map_or(0.0, |busy| busy.us)
    }
}

/// The time of a dispatch that moves so many bytes of its operands.
pub fn predict(counted: &Counted, bytes: u64, machine: &Machine) -> Prediction {
    let groups = counted.workgroups();
    let waves = groups.div_ceil(machine.multiprocessors.into());
    let filled = groups as f64 / (waves * u64::from(machine.multiprocessors)).max(1) as f64;
    let all = &counted.total;
    let lanes = |lanes: f64| lanes / 32.0;
    let arithmetic = all.multiply_adds + all.floats;
    let integers = INTEGERS_KEPT * all.integers;
    let instructions = arithmetic + all.special + integers + all.accesses + all.barriers;
    let cycles = [
        (Unit::MultiplyAdd, arithmetic / lanes(machine.multiply_add_lanes)),
        (Unit::Special, all.special / lanes(machine.special_lanes)),
        (Unit::Integer, integers / lanes(machine.integer_lanes)),
        (Unit::Issue, instructions / machine.issues),
        (Unit::WorkgroupMemory, all.cycles),
        (Unit::L1, all.sectors * f64::from(SECTOR) / machine.l1_bytes_per_cycle),
    ];
    let of_workgroups =
        cycles.map(|(unit, cycles)| Busy { unit, us: cycles * waves as f64 / machine.clock_ghz / 1e3 });
    let touched = counted.distinct_sectors * f64::from(SECTOR);
    let from_l2 = if touched <= machine.l1_bytes { touched } else { all.sectors * f64::from(SECTOR) };
    let of_device = [
        Busy { unit: Unit::L2, us: from_l2 * groups as f64 / machine.l2_gbps / 1e3 },
        // Of a table only the rows that are looked up are read.
        Busy {
            unit: Unit::Memory,
            us: (bytes as f64).min(touched * groups as f64) / machine.memory_gbps / 1e3,
        },
    ];
    let mut units: Vec<_> = of_workgroups.into_iter().chain(of_device).collect();
    let work = units.iter().map(|busy| busy.us).fold(0.0, f64::max);
    units.push(Busy { unit: Unit::Launch, us: machine.launch_us });
    units.sort_by(|a, b| b.us.total_cmp(&a.us));
    Prediction { units, us: work + machine.launch_us, waves, filled }
}
