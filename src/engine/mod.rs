//! How ops run: tensors → ops → tape → plan → device.

pub mod bounded;
pub mod case;
pub mod device;
pub mod dispatch;
pub mod dots;
mod early;
pub mod hash;
pub mod joined;
pub mod matrix;
pub mod memory;
pub mod op;
pub mod plan;
pub mod real;
pub mod rows;
pub mod single;
mod slots;
pub mod step;
pub mod tape;
pub mod tensor;
pub mod twin;
