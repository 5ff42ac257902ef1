//! What was measured, kernel by kernel, and what the device can reach.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::columns::wrapped;
use super::errors::Errors;
use super::measure::PartTimes;
use super::roofline::Roofline;
use super::workload::{Workload, shape};
use crate::engine::device::timeline::{Clock, Starts};
use crate::engine::op::Cost;
use crate::engine::plan::{Memory, Plan, Storage};

/// One kernel at one shape.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub op: &'static str,
    pub variant: &'static str,
    /// The distinct extents of its operands: `12×64×128 384×128 12×64×384`.
    pub shape: String,
    /// Times a step applies it.
    pub calls: usize,
    /// Microseconds of all calls together.
    pub us: f64,
    pub gflops: f64,
    pub gbps: f64,
    /// The least time that the device's limits allow, in percent of the time taken. More than 100 when
    /// operands are in caches, which are faster than the memory that was measured.
    pub roofline_percent: f64,
    /// Of all kernels' time, from 0 to 1.
    pub share: f64,
    /// The worst error against the oracle at this shape, in units of its bound; above 1 the kernel is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    #[serde(skip)]
    pub cost: Cost,
}

/// A tensor and its size.
#[derive(Clone, Debug, Serialize)]
pub struct Tensor {
    pub name: String,
    pub shape: String,
    pub bytes: u64,
}

/// The host's share of a step, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct HostTimes {
    pub encode_us: f64,
    pub submit_us: f64,
    pub readback_us: f64,
}

/// A step, taken apart.
#[derive(Clone, Debug)]
pub struct Report {
    pub title: String,
    pub device: String,
    pub clock: Clock,
    pub roofline: Roofline,
    /// Slowest first.
    pub rows: Vec<Row>,
    /// From the first command to the last result, in microseconds: the fastest run.
    pub step_us: f64,
    /// The same of the median run.
    pub median_us: f64,
    /// Runs that these are taken from.
    pub runs: usize,
    /// The device at work in an ordinary step, in microseconds.
    pub gpu_us: f64,
    /// All kernels, timed one by one, in microseconds.
    pub kernels_us: f64,
    pub host: HostTimes,
    /// Pieces in which an ordinary step is handed over.
    pub submissions: usize,
    /// What an ordinary step has a GPU start.
    pub starts: Option<Starts>,
    pub flops: u64,
    pub memory: Memory,
    pub slots: usize,
    /// Bytes of temporaries that no plan could do without.
    pub least_slot_bytes: u64,
    /// Largest first.
    pub largest: Vec<Tensor>,
}

/// Kernels whose times are further from the step's than this were disturbed.
const DISTURBED: f64 = 0.1;

/// Microseconds of a kernel, starting included, below which it is mostly that.
const SHORT: f64 = 50.0;

/// Tensors that a report names.
const LARGEST: usize = 8;

impl Report {
    /// Groups the times of a workload by op, variant and shape.
    pub fn new(
        device: String,
        workload: &Workload,
        times: &[PartTimes],
        roofline: Roofline,
        errors: &Errors,
    ) -> Self {
        let over = |f: fn(&PartTimes) -> f64| times.iter().map(|t| t.part.times as f64 * f(t)).sum::<f64>();
        let kernels_us = over(|t| t.detailed.launches_us());
        let plan = &workload.plan;
        let part_flops = |t: &PartTimes| t.part.times as u64 * plan.cost(t.part.phase).flops;
        Self {
            title: workload.title.clone(),
            device,
            clock: times.first().map_or(Clock::Wall, PartTimes::clock),
            roofline,
            rows: rows(plan, times, &roofline, kernels_us, errors),
            step_us: over(PartTimes::step_us),
            median_us: over(PartTimes::median_us),
            runs: times.iter().map(|t| t.runs_us.len()).min().unwrap_or_default(),
            gpu_us: over(|t| t.whole.device.us),
            kernels_us,
            host: HostTimes {
                encode_us: over(|t| t.whole.encode.us),
                submit_us: over(|t| t.whole.submit.us),
                readback_us: over(|t| t.readback.us),
            },
            submissions: times.iter().map(|t| t.part.times * t.whole.submissions).sum(),
            starts: starts(times),
            flops: times.iter().map(part_flops).sum(),
            memory: plan.memory(),
            slots: plan.slots.len(),
            least_slot_bytes: 4 * plan.least_slot_elements as u64,
            largest: largest(plan),
        }
    }

    /// The host's work in microseconds.
    pub fn host_us(&self) -> f64 {
        self.host.encode_us + self.host.submit_us + self.host.readback_us
    }

    /// How far the kernels' times together are from the device's time of an ordinary step: 0.02 for 2% more.
    pub fn sum_error(&self) -> f64 {
        self.kernels_us / self.gpu_us - 1.0
    }

    /// What to make of times that are far apart.
    fn disagreement(&self) -> Option<&'static str> {
        let calls: usize = self.rows.iter().map(|row| row.calls).sum();
        match self.sum_error() {
            error if error > DISTURBED && self.kernels_us < SHORT * calls as f64 => {
                Some("kernels this short begin while others end; one by one, each waits")
            }
            error if error.abs() > DISTURBED => {
                Some("they should agree: something else kept this machine busy, so run it again")
            }
            _ => None,
        }
    }

    /// The report as text, of at most `most` kernels.
    pub fn to_text(&self, most: usize) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut text, most);
        text
    }

    fn write_text(&self, f: &mut String, most: usize) -> std::fmt::Result {
        let Roofline { gflops, gbps } = self.roofline;
        writeln!(f, "{}", wrapped(&format!("{} on {}", self.title, self.device), 2))?;
        writeln!(f, "limits measured: {gflops:.0} GFLOP/s, {gbps:.1} GB/s\n")?;
        writeln!(f, "{:<26}  calls         µs  GFLOP/s    GB/s  % roof   share", "kernel")?;
        for row in self.rows.iter().take(most) {
            let name = format!("{}/{}", row.op, row.variant);
            write!(f, "{name:<26}  {:>5}  {:>9.1}", row.calls, row.us)?;
            write!(f, "  {:>7.1}  {:>6.1}  {:>6.1}", row.gflops, row.gbps, row.roofline_percent)?;
            writeln!(f, "  {:>5.1}%", 100.0 * row.share)?;
            let error = row.error.map_or(String::new(), |error| format!(", error {error:.2} of bound"));
            writeln!(f, "{}", wrapped(&format!("  {}{error}", row.shape), 2))?;
        }
        if self.rows.len() > most {
            let rest: f64 = self.rows[most..].iter().map(|row| row.share).sum();
            writeln!(f, "and {} more kernels, {:.1}%", self.rows.len() - most, 100.0 * rest)?;
        }
        let ms = |us: f64| format!("{:.2} ms", us / 1e3);
        let how = match self.clock {
            Clock::Timestamps => "by the device's clock",
            Clock::Wall => "by the host's clock",
        };
        let rate = self.flops as f64 / self.gpu_us / 1e3;
        let step = format!(
            "step     {}, the fastest of {}, and {} the median ({:.2} GFLOP, {rate:.1} GFLOP/s)",
            ms(self.step_us),
            self.runs,
            ms(self.median_us),
            self.flops as f64 / 1e9
        );
        writeln!(f, "\n{}", wrapped(&step, 9))?;
        let device = format!(
            "device   {}; its kernels one by one {} ({:+.1}%), {how}",
            ms(self.gpu_us),
            ms(self.kernels_us),
            100.0 * self.sum_error()
        );
        writeln!(f, "{}", wrapped(&device, 9))?;
        if let Some(why) = self.disagreement() {
            writeln!(f, "{}", wrapped(&format!("         {why}"), 9))?;
        }
        let HostTimes { encode_us, submit_us, readback_us } = self.host;
        let pieces = match self.submissions {
            1 => String::new(),
            n => format!(" in {n} pieces"),
        };
        let host = format!(
            "host     {}: encoding {encode_us:.0} µs, submitting {submit_us:.0} µs{pieces}, reading back \
             {readback_us:.0} µs",
            ms(self.host_us())
        );
        writeln!(f, "{}", wrapped(&host, 9))?;
        if let Some(Starts { dispatches, barriers }) = self.starts {
            let starts =
                format!("starts   {dispatches} dispatches, {barriers} of which wait for those before them");
            writeln!(f, "{}", wrapped(&starts, 9))?;
        }
        let Memory { parameters, states, inputs, temporaries } = self.memory;
        let memory = format!(
            "memory   {}: parameters {}, states {}, inputs {}, temporaries {} in {} slots (at least {})",
            mib(self.memory.total()),
            mib(parameters),
            mib(states),
            mib(inputs),
            mib(temporaries),
            self.slots,
            mib(self.least_slot_bytes)
        );
        writeln!(f, "{}", wrapped(&memory, 9))?;
        let largest: Vec<_> =
            self.largest.iter().take(3).map(|t| format!("{} {} {}", t.name, t.shape, mib(t.bytes))).collect();
        write!(f, "{}", wrapped(&format!("largest  {}", largest.join("; ")), 9))
    }
}

/// Of all parts of a step together.
fn starts(times: &[PartTimes]) -> Option<Starts> {
    times.iter().try_fold(Starts::default(), |sum, times| {
        let (part, n) = (times.whole.starts?, times.part.times);
        let (dispatches, barriers) = (sum.dispatches + n * part.dispatches, sum.barriers + n * part.barriers);
        Some(Starts { dispatches, barriers })
    })
}

/// Bytes as a person reads them.
pub(super) fn mib(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn rows(plan: &Plan, times: &[PartTimes], roofline: &Roofline, all_us: f64, errors: &Errors) -> Vec<Row> {
    let mut rows: BTreeMap<(&'static str, &'static str, String), Row> = BTreeMap::new();
    for PartTimes { part, detailed, .. } in times {
        for launch in &detailed.launches {
            let node = &plan.nodes[launch.node];
            let (op, variant) = (node.op.info().name, launch.variant);
            let key = (op, variant, shape(node));
            let row = rows.entry(key).or_insert_with_key(|(.., shape)| Row {
                op,
                variant,
                shape: shape.clone(),
                calls: 0,
                us: 0.0,
                gflops: 0.0,
                gbps: 0.0,
                roofline_percent: 0.0,
                share: 0.0,
                error: errors.of(op, variant, shape),
                cost: Cost::default(),
            });
            row.us += part.times as f64 * launch.span.us;
            if launch.launch == 0 {
                let (cost, times) = (node.cost(), part.times as u64);
                row.calls += part.times;
                row.cost.flops += times * cost.flops;
                row.cost.bytes += times * cost.bytes;
            }
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    for row in &mut rows {
        // A clock may be too coarse for the smallest kernels.
        let us = row.us.max(1e-3);
        row.gflops = row.cost.flops as f64 / us / 1e3;
        row.gbps = row.cost.bytes as f64 / us / 1e3;
        row.roofline_percent = 100.0 * roofline.least_us(row.cost) / us;
        row.share = row.us / all_us.max(1e-3);
    }
    rows.sort_by(|a, b| b.us.total_cmp(&a.us));
    rows
}

/// The largest tensors of a plan. A temporary is called after the node that makes it.
fn largest(plan: &Plan) -> Vec<Tensor> {
    // What stands for several tensors is none of its own.
    let is_own = |tensor: &usize| match &plan.tensors[*tensor].storage {
        Storage::Slot(_) => plan.nodes.iter().any(|node| node.outputs.contains(tensor)),
        Storage::Arena(_) => false,
        Storage::Input(_) | Storage::Persistent { .. } => true,
    };
    let mut order: Vec<_> = (0..plan.tensors.len()).filter(is_own).collect();
    order.sort_by_key(|&tensor| std::cmp::Reverse(plan.tensors[tensor].spec.bytes()));
    let name = |tensor: usize| match &plan.tensors[tensor].storage {
        Storage::Input(name) | Storage::Persistent { name, .. } => name.clone(),
        Storage::Arena(arena) => format!("arena {arena}"),
        Storage::Slot(slot) => {
            let maker = plan.nodes.iter().find(|node| node.outputs.contains(&tensor));
            maker.map_or_else(|| format!("slot {slot}"), |node| node.name.clone())
        }
    };
    let tensor = |tensor: usize| {
        let spec = plan.tensors[tensor].spec;
        Tensor { name: name(tensor), shape: spec.shape.to_string(), bytes: spec.bytes() }
    };
    order.into_iter().take(LARGEST).map(tensor).collect()
}
