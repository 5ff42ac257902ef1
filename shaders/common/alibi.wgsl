// Attention with linear biases: the farther a key, the lower its score (Press et al. 2022).

// The slope of head h: 2^(-8(h + 1)/n), with n the largest power of two up to the number of heads; those from n on
// take the steps halfway between, from the first. alibi_heads = n; alibi_step = -4/n is exact, as its multiples are.
fn alibi_slope(h: u32) -> f32 {
    var halves = 2u * h + 2u;
    if h >= params.alibi_heads {
        halves = 2u * (h - params.alibi_heads) + 1u;
    }
    return exp2(f32(halves) * params.alibi_step);
}

// What query t takes from its score of key s.
fn penalty(slope: f32, t: u32, s: u32) -> f32 {
    return slope * abs(f32(t) - f32(s));
}

fn penalties(slope: f32, t: u32, s: u32) -> vec4<f32> {
    return vec4(penalty(slope, t, s), penalty(slope, t, s + 1u), penalty(slope, t, s + 2u), penalty(slope, t, s + 3u));
}
