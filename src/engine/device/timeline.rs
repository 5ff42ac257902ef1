//! Where the time of one run of a phase went.

use serde::Serialize;

/// How finely a run is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The device as a whole, which works as in any other run.
    Whole,
    /// Every launch on its own. Nothing overlaps, so the whole may take a little longer.
    Launches,
}

/// What the times of a device were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Timestamps that the device itself writes.
    Timestamps,
    /// The host's clock around work that it waits for, less what handing over no work at all takes.
    Wall,
}

/// A stretch of time, in microseconds from a run's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    pub start_us: f64,
    pub us: f64,
}

impl Span {
    /// When it is over, in microseconds from the run's beginning.
    pub fn end_us(&self) -> f64 {
        self.start_us + self.us
    }
}

/// One launch of a kernel; on the CPU, one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaunchTime {
    /// Index into [`Plan::nodes`](crate::engine::plan::Plan::nodes).
    pub node: usize,
    /// Its place among the launches of that node.
    pub launch: usize,
    /// The kernel chosen for the node: `register`; on the CPU always `twin`.
    pub variant: &'static str,
    /// The shader's path below `shaders/`, without the ending; on the CPU the op's name.
    pub shader: &'static str,
    pub span: Span,
}

/// A run, timed. The device's spans count from the moment it was handed the work.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    pub clock: Clock,
    /// The device at work, from its first launch to its last.
    pub device: Span,
    /// In the order they ran; empty unless asked for.
    pub launches: Vec<LaunchTime>,
    /// The host recording commands.
    pub encode: Span,
    /// The host handing them over.
    pub submit: Span,
    /// The host waiting for the device.
    pub wait: Span,
    /// Submissions that the run was cut into.
    pub submissions: usize,
    /// What was started; on the CPU nothing is.
    pub starts: Option<Starts>,
}

/// The dispatches of a run on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    pub dispatches: usize,
    /// Dispatches that wait for all before them, since they write a buffer that one of these used or read one that it
    /// wrote: wgpu puts a barrier before each.
    pub barriers: usize,
}

impl Timeline {
    /// The microseconds of each node, in the order they ran.
    pub fn nodes_us(&self) -> Vec<f64> {
        let sum = |launches: &[LaunchTime]| launches.iter().map(|launch| launch.span.us).sum();
        self.launches.chunk_by(|a, b| a.node == b.node).map(sum).collect()
    }

    /// The microseconds of all launches together.
    pub fn launches_us(&self) -> f64 {
        self.launches.iter().map(|launch| launch.span.us).sum()
    }
}
