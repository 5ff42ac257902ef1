//! What all probes have in common.

use crate::engine::op::AnyOp;
use crate::engine::tensor::Spec;

/// Invocations of a probe's workgroup.
pub(super) const WORKGROUP: usize = 256;

/// An op that is timed on inputs of ones.
pub trait Probe: AnyOp {
    /// The types of its inputs.
    fn inputs(&self) -> Vec<Spec>;

    /// What it does when applied once, in units of its own: multiply-adds, bytes, sums.
    fn work(&self) -> f64;

    /// What every element of its first output is then. A kernel that does less computes something else.
    fn expected(&self) -> f32;
}
