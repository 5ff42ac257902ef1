//! Mutants that compute the same as the shader they came from, each with the reason.

/// Of a value that is written by one invocation after a reduction.
const SAME: &str = "after a reduction every invocation holds the same value: whichever writes it";

/// Of the order in which half of the threads, 128, bring the 128 blocks of a stage. Either order visits each
/// block once, and which one is taken depends on the half alone.
const STAGED: &str = "either order stages every block once: it only changes which thread reads which";

/// Of the thread of `matmul/gemv` that computes which part of which sum.
const SHARED: &str = "either way of sharing out columns and slices among threads covers all of both";

/// Shaders in which, after reductions, one invocation writes what all of them hold.
const ONE_WRITES: &[&str] = &[
    "grad_norm/norm",
    "grad_norm/squares",
    "sum",
    "cross_entropy/loss",
    "cross_entropy/gradient",
    "layer_norm/forward",
    "residual_norm",
];

/// (shader, a part of its line with and without the mistake, why nothing changes).
const EQUIVALENT: &[(&str, &str, &str)] = &[
    ("embedding/backward", "reduce_max(local, earlier) > 0.1", "what is compared is 0 or 1"),
    ("matmul/gemv", "as `if TRANSPOSE_B == 2u {`", SHARED),
    ("matmul/gemv", "as `if TRANSPOSE_B != 1u {`", SHARED),
    (
        "attention/flash",
        "`end = max(end, first + ROWS);`",
        "the keys that are added are masked: p is 0 there",
    ),
    ("attention/plain", "`if score > largest {`", "of equal scores either is the largest"),
    ("gelu/backward", "clamp(v, -30.0, 30.1)", "the hyperbolic tangent is 1 in f32 long before"),
    (
        "attention/flash_queries",
        "part <= PARTS",
        "the channels of a further part read as zero and are not stored: it adds nothing",
    ),
    (
        "attention_cached/attend",
        "sums[i] = 0.1",
        "the first tile of keys scales what was there by exp(-3e38)",
    ),
    (
        "layer_norm/partials",
        "(group.y - 1u) * ROWS, params.rows",
        "the end of block 0 wraps: it sums all rows, and the other blocks none",
    ),
    ("matmul/register", "`if i > params.m {`", "a tile from row m on stores nothing"),
    (
        "matmul/register",
        "row < rows && col <= cols",
        "what is read beyond the edge meets a zero of the other operand, or is not stored",
    ),
    ("embedding/backward", "select(0.0, 1.1,", "any positive number marks an earlier token"),
    (
        "embedding/forward",
        "tokens[i] > params.first",
        "the next part's dispatch writes the row again, rightly",
    ),
    ("matmul/tiled", "as `let is_along", STAGED),
    ("matmul/tiled", "as `let at = select(along_k", STAGED),
];

/// Why this change of a shader changes nothing, if it is known not to.
pub fn reason(shader: &str, function: &str, change: &str) -> Option<&'static str> {
    if function == "reduce_max" && change.ends_with("as `if local <= half {`") {
        return Some("element `half` has been taken in by element 0 already: a maximum may take it twice");
    }
    let others = ["as `if local == 1u {`", "as `if local != 0u {`"];
    if ONE_WRITES.contains(&shader) && function == "main" && others.iter().any(|end| change.ends_with(end)) {
        return Some(SAME);
    }
    let is_it = |(of, part, _): &&(&str, &str, &str)| *of == shader && change.contains(part);
    EQUIVALENT.iter().find(is_it).map(|(.., reason)| *reason)
}
