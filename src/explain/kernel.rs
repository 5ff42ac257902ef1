//! A kernel of an op, explained: its dispatches, what each costs, and what they take together.

use serde::Serialize;

use super::counted::{Amounts, Counted};
use super::machine::Machine;
use super::predict::{Busy, Prediction, Unit, predict};
use super::record::{Loaded, RecordError, Work};
use crate::engine::device::gpu::Gpu;
use crate::engine::device::gpu::recorder::{Part, Site, Space};
use crate::engine::op::Cost;
use crate::engine::plan::PlanNode;
use crate::profile::workload::shape;

/// A kernel at a shape on a machine.
#[derive(Clone, Debug)]
pub struct Explained {
    pub op: &'static str,
    pub variant: &'static str,
    pub node: PlanNode,
    pub cost: Cost,
    pub machine: Machine,
    pub dispatches: Vec<(Counted, Prediction)>,
}

/// What there is to say of a kernel, without the lines of its shaders.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub op: &'static str,
    pub variant: &'static str,
    pub shape: String,
    pub machine: &'static str,
    /// The unit that binds the dispatch that takes longest.
    pub binds: Unit,
    pub predicted_us: f64,
    /// The least time that the machine's peaks allow, in percent of that.
    pub predicted_percent: f64,
    pub dispatches: Vec<DispatchSummary>,
}

/// A dispatch. `workgroup` is the mean over its workgroups, in instructions of warps.
#[derive(Clone, Debug, Serialize)]
pub struct DispatchSummary {
    pub shader: &'static str,
    pub grid: [u32; 3],
    pub invocations: u32,
    pub workgroup_bytes: u32,
    /// An estimate.
    pub registers: u32,
    pub waves: u64,
    pub filled: f64,
    pub recorded: usize,
    pub left_out: f64,
    pub binds: Unit,
    pub us: f64,
    pub units: Vec<Busy>,
    pub workgroup: Amounts,
    /// `workgroup.cycles` over those without conflicts, and sectors over the fewest possible.
    pub conflict: f64,
    pub excess: f64,
    pub sites: Vec<SiteSummary>,
}

/// An access of memory.
#[derive(Clone, Debug, Serialize)]
pub struct SiteSummary {
    /// The file of the line, and its number there.
    pub file: Part,
    pub line_of_file: usize,
    #[serde(flatten)]
    pub site: Site,
    /// Requests of warps per workgroup.
    pub requests: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sectors: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<f64>,
}

impl Explained {
    /// Records, counts and predicts an op, in a variant or in the one that is taken without measuring. The GPU must
    /// have been opened to [`record`](crate::engine::device::gpu::GpuOptions::record).
    pub fn new(
        gpu: &mut Gpu,
        work: &Work,
        variant: Option<&str>,
        machine: &Machine,
    ) -> Result<Self, RecordError> {
        let mut loaded = Loaded::new(gpu, work, variant)?;
        let (node, variant) = (loaded.node.clone(), loaded.variant);
        let mut dispatches = Vec::new();
        for dispatch in 0..loaded.dispatches.len() {
            let counted = Counted::new(&mut loaded, dispatch)?;
            let bytes = loaded.bytes(dispatch, |site| counted.sites[site].accesses > 0.0);
            let prediction = predict(&counted, bytes, machine);
            dispatches.push((counted, prediction));
        }
        let (op, cost) = (node.op.info().name, node.cost());
        Ok(Self { op, variant, node, cost, machine: machine.clone(), dispatches })
    }

    /// The microseconds of all dispatches.
    pub fn us(&self) -> f64 {
        self.dispatches.iter().map(|(_, prediction)| prediction.us).sum()
    }

    /// The unit that binds the dispatch that takes longest; an op without dispatches takes no time.
    pub fn binds(&self) -> Unit {
        let longest = self.dispatches.iter().max_by(|(_, a), (_, b)| a.us.total_cmp(&b.us));
        longest.map_or(Unit::Launch, |(_, prediction)| prediction.binds())
    }

    /// The least time that the machine's peaks allow, in percent of the predicted time.
    pub fn percent(&self) -> f64 {
        let arithmetic = self.cost.flops as f64 / self.machine.gflops();
        let memory = self.cost.bytes as f64 / self.machine.memory_gbps;
        100.0 * arithmetic.max(memory) / 1e3 / self.us().max(1e-3)
    }

    /// The extents of its operands.
    pub fn shape(&self) -> String {
        shape(&self.node)
    }

    pub fn summary(&self) -> Summary {
        Summary {
            op: self.op,
            variant: self.variant,
            shape: self.shape(),
            machine: self.machine.name,
            binds: self.binds(),
            predicted_us: self.us(),
            predicted_percent: self.percent(),
            dispatches: self.dispatches.iter().map(|(counted, prediction)| of(counted, prediction)).collect(),
        }
    }
}

fn of(counted: &Counted, prediction: &Prediction) -> DispatchSummary {
    let anatomy = &counted.of.anatomy;
    let sites = anatomy.sites.iter().zip(&counted.sites).filter(|(_, amounts)| amounts.accesses > 0.0);
    let site = |(site, amounts): (&Site, &Amounts)| {
        let (file, line_of_file) = counted.of.lines[site.line - 1];
        let is_storage = site.space == Space::Storage;
        SiteSummary {
            file,
            line_of_file,
            site: site.clone(),
            requests: amounts.accesses,
            cycles: (!is_storage).then_some(amounts.cycles),
            conflict: (!is_storage).then(|| amounts.conflict()),
            sectors: is_storage.then_some(amounts.sectors),
            excess: is_storage.then(|| amounts.excess()),
        }
    };
    DispatchSummary {
        shader: counted.of.shader,
        grid: counted.of.grid,
        invocations: anatomy.invocations,
        workgroup_bytes: anatomy.workgroup_bytes,
        registers: anatomy.registers,
        waves: prediction.waves,
        filled: prediction.filled,
        recorded: counted.recorded,
        left_out: counted.left_out,
        binds: prediction.binds(),
        us: prediction.us,
        units: prediction.units.clone(),
        workgroup: counted.total,
        conflict: counted.total.conflict(),
        excess: counted.total.excess(),
        sites: sites.map(site).collect(),
    }
}
