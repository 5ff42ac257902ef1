//! Every op, in every variant, at the shapes that models really use.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::MeasureError;
use super::roofline::Roofline;
use super::subject::Subject;
use super::workload::{Workload, scattered, shape, vocab_size};
use crate::engine::device::timeline::{Detail, Timeline};
use crate::engine::device::{HostData, PlanId};
use crate::engine::op::{Cost, Record};
use crate::engine::plan::{Plan, PlanNode};
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Dtype;
use crate::ops::sum::Sum;
use crate::run::presets;

/// One op at one shape.
#[derive(Clone, Debug)]
pub struct Rung {
    pub op: &'static str,
    /// As in [`Row::shape`](super::report::Row::shape).
    pub shape: String,
    pub cost: Cost,
    node: PlanNode,
}

/// What a kernel reached.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub op: &'static str,
    pub variant: &'static str,
    pub shape: String,
    /// Microseconds of one application: the median.
    pub us: f64,
    pub gflops: f64,
    pub gbps: f64,
    pub roofline_percent: f64,
    /// The variant that the device takes when left the choice.
    pub chosen: bool,
}

/// Presets whose shapes are timed, smallest first.
pub const PRESETS: [&str; 3] = ["mini", "char", "lal"];

/// The distinct shapes at which these presets apply each op, in training and in decoding; `op` picks one.
pub fn ladder(presets: &[&str], op: Option<&str>) -> Result<Vec<Rung>, MeasureError> {
    let (mut seen, mut rungs) = (HashSet::new(), Vec::new());
    for config in presets.iter().filter_map(|name| presets::named(name)) {
        let Some(vocab_size) = vocab_size(&config.tokenizer) else { continue };
        let model = config.model(vocab_size);
        for work in [Workload::pretraining(&config, &model)?, Workload::decoding(&model)?] {
            for node in &work.plan.nodes {
                let name = node.op.info().name;
                if op.is_none_or(|op| op == name) && seen.insert((name, shape(node))) {
                    rungs.push(Rung { op: name, shape: shape(node), cost: node.cost(), node: node.clone() });
                }
            }
        }
    }
    rungs.sort_by_key(|rung| crate::ops::OPS.iter().position(|info| info.name == rung.op));
    Ok(rungs)
}

/// Bytes of operands that no cache holds: copies of the operands take turns until they are as many.
const BEYOND_CACHES: u64 = 256 << 20;
const BEYOND_CACHES_OF_A_CPU: u64 = 64 << 20;
/// The most copies.
const COPIES: u64 = 64;
/// Copies for work of so many FLOPs per byte that memory does not bound it.
const FEW_COPIES: u64 = 2;
const FLOPS_PER_BYTE: u64 = 16;
/// Microseconds of measuring that are enough for one kernel.
const ENOUGH_US: f64 = 100_000.0;
const MOST_RUNS: usize = 10;

/// A rung loaded on a device, ready to be run.
pub struct Prepared {
    plan: PlanId,
}

impl Rung {
    /// The op with its operands, as it stands in the plan that it is from.
    pub fn node(&self) -> &PlanNode {
        &self.node
    }

    /// The variants that compute it here, plainest first.
    pub fn variants(&self, device: &dyn Subject) -> Vec<&'static str> {
        device.variants(self.node.op.as_ref(), &self.node.operands())
    }

    /// Whether it would take more than a second where a kernel reaches a twentieth of the roofline.
    pub fn is_long(&self, roofline: &Roofline) -> bool {
        20.0 * roofline.least_us(self.cost) > 1e6
    }

    /// Loads it with a variant, or with the one the device chooses. What was loaded before is forgotten.
    pub fn prepare(&self, device: &mut dyn Subject, variant: Option<&str>) -> Result<Prepared, MeasureError> {
        let enough = if device.slow() { BEYOND_CACHES_OF_A_CPU } else { BEYOND_CACHES };
        let most = if self.cost.flops > FLOPS_PER_BYTE * self.cost.bytes { FEW_COPIES } else { COPIES };
        let copies = enough.div_ceil(self.node.operands().bytes().max(1)).clamp(1, most);
        let mut tape = Tape::new("bench");
        let mut outputs = Vec::new();
        for copy in 0..copies {
            let inputs: Vec<_> = (self.node.in_specs.iter().enumerate())
                .map(|(i, &spec)| tape.input(&format!("{copy}.{i}"), spec))
                .collect();
            outputs.extend(tape.record(self.node.op.clone(), &inputs)?);
        }
        // Never run: that they are still needed keeps the copies' outputs from sharing memory.
        tape.begin_phase("keep");
        for output in outputs {
            tape.apply_one(Sum { accumulate: false }, &[output])?;
        }
        device.clear();
        device.force_variant(variant);
        let plan = device.load(&Arc::new(Plan::new(&tape, &[])?), 0);
        device.force_variant(None);
        let plan = plan?;
        for (i, spec) in self.node.in_specs.iter().enumerate() {
            let len = spec.shape.len();
            for copy in 0..copies {
                let name = format!("{copy}.{i}");
                match spec.dtype {
                    // Positive, as second moments must be.
                    Dtype::F32 => device.set_input(plan, &name, HostData::F32(&fractions(len)))?,
                    Dtype::U32 => {
                        device.set_input(plan, &name, HostData::U32(&scattered(len, LEAST_VOCABULARY)))?;
                    }
                }
            }
        }
        Ok(Prepared { plan })
    }

    /// Times every variant.
    pub fn measure(
        &self,
        device: &mut dyn Subject,
        roofline: &Roofline,
    ) -> Result<Vec<Figure>, MeasureError> {
        let variants = self.variants(device);
        let chosen = match variants.as_slice() {
            [_] => None,
            _ => self.prepare(device, None)?.run(device)?.launches.first().map(|launch| launch.variant),
        };
        let figure = |variant| {
            let us = self.prepare(device, Some(variant))?.median(device)?.max(1e-3);
            Ok(Figure {
                op: self.op,
                variant,
                shape: self.shape.clone(),
                us,
                gflops: self.cost.flops as f64 / us / 1e3,
                gbps: self.cost.bytes as f64 / us / 1e3,
                roofline_percent: 100.0 * roofline.least_us(self.cost) / us,
                chosen: chosen.is_none_or(|chosen| chosen == variant),
            })
        };
        variants.into_iter().map(figure).collect()
    }
}

impl Prepared {
    /// Runs all copies once.
    pub fn run(&self, device: &mut dyn Subject) -> Result<Timeline, MeasureError> {
        let step = Step { learning_rate: 1e-3, correction1: 0.1, correction2: 0.01, ..Step::default() };
        Ok(device.profile(self.plan, 0, &step, Detail::Launches)?)
    }

    /// The median microseconds of one application.
    fn median(&self, device: &mut dyn Subject) -> Result<f64, MeasureError> {
        // The first run compiles and warms up.
        self.run(device)?;
        let (mut all, mut sum) = (Vec::new(), 0.0);
        for _ in 0..MOST_RUNS {
            if sum > ENOUGH_US {
                break;
            }
            let us = self.run(device)?.nodes_us();
            sum += us.iter().sum::<f64>();
            all.extend(us);
        }
        all.sort_by(f64::total_cmp);
        Ok(all.get(all.len() / 2).copied().unwrap_or(0.0))
    }
}

/// The smallest vocabulary of any preset: an index below it is valid in all of them.
const LEAST_VOCABULARY: usize = 65;

/// Numbers between 0.1 and 1.
fn fractions(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.1 + 0.9 * (i * 7919 % 1024) as f32 / 1024.0).collect()
}
