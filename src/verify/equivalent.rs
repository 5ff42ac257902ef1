//! Mutants that compute the same as the shader they came from, each with the reason.

/// Of a value that is written by one invocation after a reduction.
const SAME: &str = "after a reduction every invocation holds the same value: whichever writes it";

/// Of the order in which half of the threads, 128, bring the 128 blocks of a stage. Either order visits each
/// block once, and which one is taken depends on the half alone.
const STAGED: &str = "either order stages every block once: it only changes which thread reads which";

/// Of the thread of `matmul/gemv` that computes which part of which sum.
const SHARED: &str = "either way of sharing out columns and slices among threads covers all of both";

/// Of the last digits of tanh's polynomial below 0.625: the terms of high order are small.
const BELOW_ROUNDING: &str = "moves the sum by half a unit of rounding at most";

/// Of the end to which packed attention clamps tokens before it compares their segments.
const CLAMPED: &str = "tokens from `time` on are neither seen nor stored: their segments say nothing";

/// Of tiles of keys that no query of the workgroup sees.
const MASKED: &str = "the keys that are added are masked: p is 0 there";

/// Of the row after a part of a table that is bound in parts.
const NEXT_PART: &str = "the next part's dispatch writes the row again, rightly";

/// Shaders in which, after reductions, one invocation writes what all of them hold.
const ONE_WRITES: &[&str] = &[
    "rms_norm",
    "grad_norm/norm",
    "grad_norm/squares",
    "sum",
    "cross_entropy/loss",
    "cross_entropy/gradient",
    "entropy/loss",
    "entropy/gradient",
    "layer_norm/forward",
    "residual_norm",
    "embedding/firsts",
    "draw_token/search",
];

/// (shader, a part of its line with and without the mistake, why nothing changes). No shader stands for all: a
/// function of `shaders/common/` is spoilt in one of those that call it.
const EQUIVALENT: &[(&str, &str, &str)] = &[
    ("matmul/gemv", "as `if TRANSPOSE_B == 2u {`", SHARED),
    ("matmul/gemv", "as `if TRANSPOSE_B != 1u {`", SHARED),
    ("attention/flash", "`end = max(end, first + ROWS);`", MASKED),
    ("attention/plain", "`if score > largest {`", "of equal scores either is the largest"),
    ("gelu_backward", "clamp(x, -30.0, 30.1)", "the hyperbolic tangent is 1 in f32 long before"),
    ("gelu_backward", "clamp(x, -30.1, 30.0)", "the hyperbolic tangent is -1 in f32 long before"),
    (
        "attention/flash_queries",
        "part <= PARTS",
        "the channels of a further part read as zero and are not stored: it adds nothing",
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
    ("embedding/firsts", "1.0 + earlier", "either is 1 where no token is earlier, and there alone"),
    ("embedding/firsts", "select(0.0, 1.1,", "any positive number marks an earlier token"),
    ("embedding/forward", "tokens[i] > params.first", NEXT_PART),
    ("embedding/backward", "token > params.first + params.rows", NEXT_PART),
    ("matmul/tiled", "`let is_along = select(TRANSPOSE_B", STAGED),
    (
        "grad_norm/squares",
        "min((block - 1u) * BLOCK, params.len)",
        "the end of block 0 wraps: it sums all elements, and the other blocks none",
    ),
    ("norm_linear", "`if params.first - number == 0u {`", "a further workgroup, if any, stores the same row"),
    ("norm_linear", "(v - mean) * (v + mean)", "Σ (v - m)(v + m) = Σ v² - n m² = Σ (v - m)²"),
    ("attention/flash", "`let last = params.time + 1u;`", CLAMPED),
    ("attention/flash_keys", "`let last = params.time + 1u;`", CLAMPED),
    ("attention/plain", "sum[d] = 0.1", "the first key scales what was there by exp(-3e38)"),
    (
        "attention/flash_keys",
        "part <= PARTS",
        "the channels of a further part read as zero and are not stored: it adds nothing",
    ),
    ("attention_cached", "total = 0.1", "the first tile of keys scales what was there by exp(-3e38)"),
    (
        "attention_cached",
        "score = 0.1",
        "what is added to all scores of a query leaves its probabilities as they are",
    ),
    ("attention_cached", "first <= seen", "a tile after the last key has only weights of 0"),
    ("attention_cached", "seen + first", "the weights that are added are 0"),
    ("attention_cached", "part <= SHARE", "a further part has no channels to store"),
    ("draw_token/ranked", "as `if local != 0u {`", "whichever thread sets it to 0"),
    ("draw_token/ranked", "own <= SHARE", "a thread has no further tokens"),
    (
        "draw_token/ranked",
        "1.0 > 0.0 && masses",
        "what comes before tokens that are left out weighs more than the limit, but for rounding",
    ),
    (
        "draw_token/search",
        "params.top_p <= 1.0",
        "of all of the probability only tokens of none are left out",
    ),
    ("draw_token/search", "limit <= total", "what is below 1 times a sum is the sum by rounding alone"),
    (
        "draw_token/search",
        "params.top_k <= params.known",
        "to look for more tokens than there are finds the end",
    ),
    (
        "draw_token/search",
        "bitcast<u32>(limit) - 2u",
        "sums that are equal to p are rounded apart: one more unit keeps them below",
    ),
    ("", "; half >= 0u;", "from 0 on nothing is added: the loop only fails to end"),
    ("", "select(1.0, e, x <= 0.0)", "at zero e is 1"),
    ("", "min(a, 14.1)", "the density is below the smallest float there"),
    ("", "z * 5.705e-3", BELOW_ROUNDING),
    ("", "(2.064e-2 - z", BELOW_ROUNDING),
    ("", "(-5.374e-2 + z", BELOW_ROUNDING),
    ("", "min(abs(x), 10.1)", "the hyperbolic tangent is 1 in f32 long before"),
    ("", "select(far, near, a <= 0.625)", "either form is good there"),
    ("", "select(far, near, a < 0.626)", "either form is good there"),
    ("", "grad_norm[0] >= params.clip", "of the norm that is just not clipped the factor is 1"),
    ("activation", "x, 0.0, x <= 0.0", "either is zero at zero"),
    ("activation_backward", "x, 0.0, x <= 0.0", "either is zero at zero"),
];

/// Why this change of a shader changes nothing, if it is known not to.
pub fn reason(shader: &str, function: &str, change: &str) -> Option<&'static str> {
    if function == "reduce_max" && change.ends_with("as `if local <= half {`") {
        return Some("element `half` has been taken in by element 0 already: a maximum may take it twice");
    }
    // Where a loop over keys ends or begins; what a query sees is another function's.
    if shader.starts_with("attention/flash") && function == "main" {
        let passed_by = [
            "as `if params.causal == 2u {`",
            "as `if WINDOWED == 2u {`",
            // a window as long as the row leaves nothing out
            "as `if WINDOWED != 1u {`",
            "as `tile = (first + 1u - min(first + 1u, params.window)) / TILE / TILE;`",
        ];
        if passed_by.iter().any(|end| change.ends_with(end)) {
            return Some(MASKED);
        }
    }
    if shader == "attention/flash_keys" && function == "load_dout" && change.ends_with("as `return 0.1;`") {
        return Some(
            "past the last row p is 0, and past the last channel values read as 0 and nothing is stored",
        );
    }
    let others = ["as `if local == 1u {`", "as `if local != 0u {`"];
    if ONE_WRITES.contains(&shader)
        && ["main", "each_row"].contains(&function)
        && others.iter().any(|end| change.ends_with(end))
    {
        return Some(SAME);
    }
    let is_it =
        |(of, part, _): &&(&str, &str, &str)| (of.is_empty() || *of == shader) && change.contains(part);
    EQUIVALENT.iter().find(is_it).map(|(.., reason)| *reason)
}
