//! What every op imports.

pub use super::elementwise::{Declaration, Elementwise, each};
pub use super::unary::{Backward, Unary};
pub use crate::engine::case::{Bound, Case, Fill};
pub use crate::engine::dispatch::{Dispatch, In, Kernel, Operand, Operands, Out, Scratch, Shader, Target};
pub use crate::engine::op::{
    AnyOp, Applied, Cost, Joins, Op, OpError, OpInfo, Record, Twin, Var, expect, expect_operands,
    expect_vector, record_gradients, record_one,
};
pub use crate::engine::real::Real;
pub use crate::engine::rows::for_rows;
pub use crate::engine::tensor::{Dtype, Shape, Spec};
pub use crate::engine::twin::Io;
pub use crate::shader;
