// Packed sequences: segments (batch, time) number those of a row.

// Whether query t sees key s of item b. Tokens from `time` on are neither seen nor stored, whatever this says.
fn same_segment(b: u32, t: u32, s: u32) -> bool {
    let last = params.time - 1u;
    return segments[b * params.time + min(t, last)] == segments[b * params.time + min(s, last)];
}

fn same_segments(b: u32, t: u32, s: u32) -> vec4<bool> {
    return vec4(
        same_segment(b, t, s),
        same_segment(b, t, s + 1u),
        same_segment(b, t, s + 2u),
        same_segment(b, t, s + 3u),
    );
}
