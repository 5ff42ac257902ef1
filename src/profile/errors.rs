//! How far the kernels of a workload are from the oracle, on the numbers of that workload and at its shapes.

use std::collections::{BTreeSet, HashMap};

use super::workload::{Workload, shape};
use crate::engine::device::gpu::Gpu;
use crate::engine::device::{Device, DeviceError};
use crate::verify::lockstep::{Lockstep, Watch, case_name};

/// FLOPs of a step that are taken on, and of a node whose kernels are checked: minutes and seconds of the CPU's.
const MOST_FLOPS: u64 = 100_000_000_000;
const MOST_NODE_FLOPS: u64 = 1_000_000_000;

/// The worst errors in units of their bounds.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// By op, variant and shape.
    worst: HashMap<(&'static str, String, String), f64>,
    /// Nodes that are too much for the oracle.
    pub skipped: usize,
}

impl Errors {
    /// Runs every part of the workload once on the CPU, and on the GPU each kernel that no earlier node had at
    /// that shape. The GPU should have been opened with `poison`.
    pub fn measure(gpu: &mut Gpu, workload: &Workload) -> Result<Self, DeviceError> {
        let plan = &workload.plan;
        let mut errors = Self::default();
        let flops = |node: &&crate::engine::plan::PlanNode| node.cost().flops;
        if plan.nodes.iter().map(|node| flops(&node)).sum::<u64>() > MOST_FLOPS {
            errors.skipped = plan.nodes.len();
            return Ok(errors);
        }
        errors.skipped = plan.nodes.iter().filter(|node| flops(node) > MOST_NODE_FLOPS).count();
        let mut lockstep = Lockstep::device(gpu, Watch::Distinct { most_flops: MOST_NODE_FLOPS });
        let id = workload.load(&mut lockstep)?;
        for part in &workload.parts {
            lockstep.run(id, part.phase, &workload.step)?;
        }
        let shapes: HashMap<_, _> = plan.nodes.iter().map(|node| (case_name(node), shape(node))).collect();
        for check in &lockstep.hook.checks {
            let key = (check.op, check.variant.clone(), shapes[&check.case].clone());
            let ratio =
                if check.passed() { check.worst.ratio() } else { check.worst.ratio().max(f64::INFINITY) };
            let worst = errors.worst.entry(key).or_default();
            *worst = worst.max(ratio);
        }
        Ok(errors)
    }

    /// Of a kernel at a shape, if it was checked. Of one that the device joined, at any: each part was checked.
    pub fn of(&self, op: &'static str, variant: &str, shape: &str) -> Option<f64> {
        let at_any = || {
            let is_it = |key: &&(&'static str, String, String)| key.0 == op && key.1 == variant;
            self.worst.keys().filter(is_it).map(|key| self.worst[key]).reduce(f64::max)
        };
        self.worst.get(&(op, variant.into(), shape.into())).copied().or_else(at_any)
    }

    /// Ops with a kernel outside its bound.
    pub fn wrong(&self) -> BTreeSet<&'static str> {
        self.worst.iter().filter(|(_, error)| **error > 1.0).map(|((op, ..), _)| *op).collect()
    }
}
