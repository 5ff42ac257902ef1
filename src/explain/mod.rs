//! Why a kernel is as fast as it is, without a GPU: what its accesses and its arithmetic need of each unit of a device,
//! counted on a few workgroups, and the unit that binds.
//!
//! [`record`] runs workgroups on any adapter, [`requests`] makes warps' requests of what their invocations accessed,
//! [`banks`] and [`sectors`] say what those cost, [`counted`] adds up a dispatch, and [`predict`] makes times of it for
//! a [`machine`]. [`listing`] writes the result next to the lines of the shader, [`table`] kernels side by side.

pub mod accepted;
pub mod banks;
pub mod counted;
pub mod kernel;
pub mod listing;
pub mod machine;
pub mod places;
pub mod predict;
pub mod record;
pub mod requests;
pub mod sectors;
pub mod table;
