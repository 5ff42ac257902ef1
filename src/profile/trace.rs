//! A step as trace events, for Perfetto or Chrome's `about:tracing`.
//!
//! The format is Chrome's "Trace Event Format": complete events, in microseconds, which nest by time. The
//! clocks of host and device are not the same; the device's lane begins when the work has been handed over.

use serde::Serialize;
use serde_json::{Value, json};

use super::measure::PartTimes;
use super::report::Report;
use super::workload::{Workload, shape};
use crate::engine::device::timeline::{LaunchTime, Span};

/// A trace: what the file holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    display_time_unit: &'static str,
    trace_events: Vec<Value>,
    other_data: Value,
}

const HOST: u32 = 1;
const DEVICE: u32 = 2;

impl Trace {
    /// One run of each part of a workload, one after the other.
    pub fn new(report: &Report, workload: &Workload, times: &[PartTimes]) -> Self {
        let mut trace = Self {
            display_time_unit: "ms",
            trace_events: Vec::new(),
            other_data: json!({ "work": report.title, "device": report.device, "clock": report.clock }),
        };
        trace.name(HOST, "host", "commands");
        trace.name(DEVICE, &report.device, "kernels");
        let mut at = 0.0;
        for part in times {
            at = trace.part(workload, part, at);
        }
        trace
    }

    fn name(&mut self, process: u32, name: &str, thread: &str) {
        for (kind, name) in [("process_name", name), ("thread_name", thread)] {
            let event =
                json!({ "ph": "M", "name": kind, "pid": process, "tid": 1, "args": { "name": name } });
            self.trace_events.push(event);
        }
    }

    /// A span that begins `at` microseconds later than it says.
    fn span(&mut self, process: u32, kind: &str, name: &str, at: f64, span: Span, args: Value) {
        self.trace_events.push(json!({
            "ph": "X", "name": name, "cat": kind, "pid": process, "tid": 1,
            "ts": at + span.start_us, "dur": span.us, "args": args,
        }));
    }

    /// Appends a part that begins at `at`, and returns when it ends.
    fn part(&mut self, workload: &Workload, times: &PartTimes, at: f64) -> f64 {
        let PartTimes { part, detailed, readback, .. } = times;
        let phase = &workload.plan.phases[part.phase].name;
        let readback = Span { start_us: detailed.wait.end_us(), ..*readback };
        let whole = Span { start_us: 0.0, us: readback.end_us() };
        self.span(HOST, "segment", phase, at, whole, json!({ "times per step": part.times }));
        for (name, span) in [
            ("encode", detailed.encode),
            ("submit", detailed.submit),
            ("wait", detailed.wait),
            ("readback", readback),
        ] {
            self.span(HOST, "host", name, at, span, json!({}));
        }
        let begins = at + detailed.submit.end_us();
        self.span(DEVICE, "segment", phase, begins, detailed.device, json!({}));
        for launches in detailed.launches.chunk_by(|a, b| a.node == b.node) {
            self.node(workload, launches, begins);
        }
        at + whole.us.max(detailed.submit.end_us() + detailed.device.us)
    }

    /// Appends a node and the launches in it.
    fn node(&mut self, workload: &Workload, launches: &[LaunchTime], at: f64) {
        let (Some(first), Some(last)) = (launches.first(), launches.last()) else { return };
        let node = &workload.plan.nodes[first.node];
        let cost = node.cost();
        let span = Span { start_us: first.span.start_us, us: last.span.end_us() - first.span.start_us };
        let args = json!({
            "op": node.op.info().name, "variant": first.variant, "shape": shape(node),
            "flops": cost.flops, "bytes": cost.bytes,
        });
        self.span(DEVICE, "node", &node.name, at, span, args);
        for launch in launches {
            self.span(DEVICE, "launch", launch.shader, at, launch.span, json!({ "launch": launch.launch }));
        }
    }
}
