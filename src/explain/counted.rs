//! What a dispatch costs: the means over its workgroups, line by line.

use std::collections::{BTreeMap, HashSet};
use std::ops::AddAssign;

use serde::Serialize;

use super::banks::{Cycles, cycles};
use super::places::places;
use super::record::Loaded;
use super::requests::{Addresses, of_warps, requests};
use super::sectors::{Sectors, sectors, touched};
use crate::engine::device::DeviceError;
use crate::engine::device::gpu::recorder::{Anatomy, Operations, Record, Recordable, Site, Space};

/// Bytes that one instruction of an invocation reads or writes at most.
const WIDEST: u32 = 16;

/// What a workgroup does. All but `cycles` and `sectors` count instructions of warps: one for 32 invocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Amounts {
    pub multiply_adds: f64,
    /// Other sums and products of floating point.
    pub floats: f64,
    pub special: f64,
    pub integers: f64,
    pub barriers: f64,
    /// Reads and writes of memory.
    pub accesses: f64,
    /// Of workgroup memory.
    pub cycles: f64,
    /// Without conflicts.
    pub least_cycles: f64,
    /// Of storage.
    pub sectors: f64,
    pub least_sectors: f64,
}

impl Amounts {
    fn of(operations: &Operations) -> Self {
        Self {
            multiply_adds: operations.multiply_adds as f64,
            floats: operations.floats as f64,
            special: operations.special as f64,
            integers: operations.integers as f64,
            barriers: operations.barriers as f64,
            ..Self::default()
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            multiply_adds: self.multiply_adds * factor,
            floats: self.floats * factor,
            special: self.special * factor,
            integers: self.integers * factor,
            barriers: self.barriers * factor,
            accesses: self.accesses * factor,
            cycles: self.cycles * factor,
            least_cycles: self.least_cycles * factor,
            sectors: self.sectors * factor,
            least_sectors: self.least_sectors * factor,
        }
    }

    /// How many times as long bank conflicts make the accesses of workgroup memory.
    pub fn conflict(&self) -> f64 {
        if self.least_cycles > 0.0 { self.cycles / self.least_cycles } else { 1.0 }
    }

    /// How many times as much of storage is moved as is wanted.
    pub fn excess(&self) -> f64 {
        if self.least_sectors > 0.0 { self.sectors / self.least_sectors } else { 1.0 }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.multiply_adds += other.multiply_adds;
        self.floats += other.floats;
        self.special += other.special;
        self.integers += other.integers;
        self.barriers += other.barriers;
        self.accesses += other.accesses;
        self.cycles += other.cycles;
        self.least_cycles += other.least_cycles;
        self.sectors += other.sectors;
        self.least_sectors += other.least_sectors;
    }
}

/// A dispatch, counted.
#[derive(Clone, Debug)]
pub struct Counted {
    pub of: Recordable,
    /// Means over the workgroups of the grid.
    pub total: Amounts,
    /// By line of the text.
    pub lines: BTreeMap<usize, Amounts>,
    /// As many as there are [sites](Anatomy::sites).
    pub sites: Vec<Amounts>,
    /// Different sectors that a workgroup reads, and that it writes, each once.
    pub distinct_sectors: f64,
    /// Workgroups that were recorded.
    pub recorded: usize,
    /// The share of their accesses that the record had no room for. Its costs are taken to be as those of the others.
    pub left_out: f64,
}

impl Counted {
    /// Records some workgroups of a dispatch and counts what they do.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(loaded: &mut Loaded, dispatch: usize) -> Result<Self, DeviceError> {
        let of = loaded.dispatches[dispatch].clone();
        let sites = vec![Amounts::default(); of.anatomy.sites.len()];
        let (total, lines) = (Amounts::default(), BTreeMap::new());
        let mut counted = Self { of, total, lines, sites, distinct_sectors: 0.0, recorded: 0, left_out: 0.0 };
        let (mut accesses, mut left_out) = (0, 0);
        for place in places(counted.of.grid) {
            let record = loaded.record(dispatch, place.group)?;
            accesses += record.accesses;
            left_out += record.left_out;
            counted.add(&record, place.share);
            counted.recorded += 1;
        }
        counted.left_out = left_out as f64 / accesses.max(1) as f64;
        Ok(counted)
    }

    /// Workgroups of the grid.
    pub fn workgroups(&self) -> u64 {
        self.of.grid.iter().map(|&n| u64::from(n)).product()
    }

    /// Warps of a workgroup.
    pub fn warps(&self) -> f64 {
        f64::from(self.of.anatomy.invocations.div_ceil(32))
    }

    fn add(&mut self, record: &Record, share: f64) {
        let anatomy = self.of.anatomy.clone();
        let Anatomy { sites, blocks, .. } = &*anatomy;
        let ran = |block: usize| of_warps(&record.runs[block]) as f64;
        for (number, block) in blocks.iter().enumerate() {
            let times = ran(number);
            for (&line, operations) in &block.lines {
                self.note(line, Amounts::of(operations).times(share * times));
            }
        }
        let mut seen = HashSet::new();
        for (number, site) in sites.iter().enumerate() {
            let requests = requests(record, number);
            if requests.is_empty() {
                continue;
            }
            // Where the record had no room, what it holds stands for the rest.
            let made: u64 = record.runs[site.block].iter().map(|&made| u64::from(made)).sum();
            let kept = requests.iter().flatten().flatten().count();
            let scale = made as f64 / kept as f64;
            let amounts = cost(site, &requests).times(share * scale);
            self.sites[number] += amounts;
            self.note(site.line, amounts);
            if site.space == Space::Storage {
                let wanted: Vec<u32> = requests.iter().flatten().flatten().copied().collect();
                seen.extend(
                    touched(&wanted, site.bytes)
                        .into_iter()
                        .map(|sector| (&site.variable, site.writes, sector)),
                );
            }
        }
        self.distinct_sectors += share * seen.len() as f64;
    }

    fn note(&mut self, line: usize, amounts: Amounts) {
        self.total += amounts;
        *self.lines.entry(line).or_default() += amounts;
    }
}

/// What the requests of a site cost.
fn cost(site: &Site, requests: &[Addresses]) -> Amounts {
    let (mut taken, mut moved) = (Cycles::default(), Sectors::default());
    for request in requests {
        match site.space {
            Space::Workgroup => taken += cycles(request, site.bytes),
            Space::Storage => moved += sectors(request, site.bytes),
        }
    }
    Amounts {
        accesses: requests.len() as f64 * f64::from(site.bytes.div_ceil(WIDEST)),
        cycles: taken.taken as f64,
        least_cycles: taken.least as f64,
        sectors: moved.touched as f64,
        least_sectors: moved.least as f64,
        ..Amounts::default()
    }
}
