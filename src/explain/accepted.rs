//! Bank conflicts that stay, each with the reason.

use crate::engine::device::gpu::recorder::Site;

/// Of tiles that are staged with neighbouring invocations along a row of memory, which is a column of the tile.
const BY_COLUMNS: &str = "the staged tile is stored by columns, 8 ways";

/// Of blocks of results that become an operand: invocations of a column of them store 16 bytes each, 1,024 apart.
const BLOCKS: &str = "a block is stored with its columns as terms, 8 ways";

/// (the beginning of the shader's name, a part of the expression, why).
const ACCEPTED: &[(&str, &str, &str)] = &[
    ("attention/flash", "left[i % TILE * ROW_QUADS + i / TILE]", BY_COLUMNS),
    ("attention/flash", "right[i % TILE * COL_QUADS + i / TILE]", BY_COLUMNS),
    ("attention/flash", "left[at", BLOCKS),
    (
        "attention/flash",
        "right[row * COL_QUADS + i]",
        "the shares of a row's columns are added once, at the end: its rows stand 8 vectors apart, 2 ways",
    ),
    (
        "matmul/gemv",
        "sums[slice * COLS + col]",
        "threads that lie along k store sums of 8 columns: once for each, after the loop over k",
    ),
    (
        "matmul/gemv",
        "sums[(slice + reach) * COLS + col]",
        "as they are stored, and as often as they are halved",
    ),
];

/// Why an access may conflict, and the number of that reason in the list.
pub fn reason(shader: &str, site: &Site) -> Option<(usize, &'static str)> {
    let is_it = |(of, part, _): &(&str, &str, &str)| shader.starts_with(of) && site.expression.contains(part);
    let at = ACCEPTED.iter().position(is_it)?;
    Some((at, ACCEPTED[at].2))
}

/// All entries, as (beginning of the shader's name, part of the expression).
pub fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    ACCEPTED.iter().map(|(shader, part, _)| (*shader, *part))
}
