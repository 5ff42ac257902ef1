//! Bank conflicts that stay, each with the reason.

use crate::engine::device::gpu::recorder::Site;

/// (the beginning of the shader's name, a part of the expression, why).
const ACCEPTED: &[(&str, &str, &str)] = &[
    (
        "attention/flash",
        "right[row * COL_QUADS + ",
        "the shares of a row's columns are added once, at the end: its rows stand 8 vectors apart, 2 ways",
    ),
    (
        "matmul/gemv",
        "sums[slice * COLS + col]",
        "threads along k store their sums of 8 columns: once each, after the loop over k",
    ),
    (
        "matmul/gemv",
        "sums[(slice + reach) * COLS + col]",
        "the tree that adds those sums reads them in the same layout, once per level",
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
