//! Ops whose only use is to be timed: each does one thing that a device can do, as fast as it can. They are no part of
//! a model, so the registry does not list them.

pub mod count;
pub mod matches;
pub mod matrix;
pub mod multiply_add;
mod probe;
pub mod reduction;
pub mod rounding;
pub mod stream;
pub mod workgroup_memory;

pub use self::probe::Probe;
use crate::engine::op::OpInfo;

/// All of them, for the tests that walk the registry.
pub static PROBES: [&OpInfo; 9] = [
    &multiply_add::MULTIPLY_ADD,
    &rounding::ROUNDING,
    &stream::COPY,
    &stream::READ,
    &workgroup_memory::WORKGROUP_MEMORY,
    &reduction::REDUCTION,
    &count::COUNT,
    &matrix::MATRIX,
    &matches::MATCHES,
];
