// The order of tokens by logit: of equal logits the lower id comes first.

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Lower for a greater logit.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    // -0 ranks as 0 does.
    return select((bits & 0x7fffffffu) ^ 0x7fffffffu, bits, bits > 0x80000000u);
}
