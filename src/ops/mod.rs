//! What runs: every op with its contract, twin, derivative, cases and cost. [`OPS`] is the registry.

pub mod add;
pub mod backward;
pub mod gelu;
pub mod zeros;

use crate::engine::op::OpInfo;

/// Every op. Tests, reports and documentation walk this list; a new op is one line here.
pub static OPS: &[&OpInfo] = &[&gelu::GELU, &gelu::GELU_BACKWARD, &add::ADD, &zeros::ZEROS];
