//! Token and position embeddings.

use crate::engine::op::{OpError, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::add::Add;
use crate::ops::embedding::Embedding;

/// A table of `rows` vectors of width `n`, normal with standard deviation 0.02: `weight` (rows, n).
pub fn table(tape: &mut Tape, rows: usize, n: usize) -> Var {
    tape.parameter("weight", [rows, n], Init::Normal(0.02), Parameter::Outer)
}

/// tokens (batch, time) → (batch, time, n): each token's row of `table`, plus its position's of `positions`.
pub fn embed(tape: &mut Tape, tokens: Var, table: Var, positions: Option<Var>) -> Result<Var, OpError> {
    let mut operands = vec![tokens, table];
    operands.extend(positions);
    tape.apply_one(Embedding, &operands)
}

/// As [`embed`], each token standing not at its place in the row but at that of `places` (batch, time).
pub fn embed_at(
    tape: &mut Tape,
    tokens: Var,
    table: Var,
    places: Var,
    positions: Var,
) -> Result<Var, OpError> {
    let token = tape.apply_one(Embedding, &[tokens, table])?;
    let position = tape.apply_one(Embedding, &[places, positions])?;
    tape.apply_one(Add, &[token, position])
}
