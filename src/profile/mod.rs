//! Where the time of a model goes: each kernel of a step against what the device can reach.

pub mod bench;
pub mod columns;
pub mod errors;
pub mod html;
pub mod limits;
pub mod measure;
pub mod probes;
pub mod report;
pub mod roofline;
pub mod subject;
mod svg;
pub mod trace;
pub mod workload;
pub mod writing;

use crate::engine::device::DeviceError;
use crate::engine::op::OpError;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the work to measure does not fit together: {0}")]
    Plan(#[from] OpError),
    #[error(
        "{wrong} of {of} results of {probe} on {device} are not {expected}, so its speed would mean nothing; check the \
         device with `lal verify`, and its driver"
    )]
    Wrong { probe: String, device: String, wrong: usize, of: usize, expected: f32 },
}
