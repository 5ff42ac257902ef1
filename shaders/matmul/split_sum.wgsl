// matmul: C = scale · Σ partials + bias (+ C), the second pass where k was split
// partials (splits, m, n); bias (n); c (m, n)
// One thread per element of C; partials are added in order, in f32.

struct Params {
    len: u32, n: u32, splits: u32,
    scale: f32, accumulate: u32, add_bias: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(at: u32) {
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += partials[split * params.len + at];
    }
    sum *= params.scale;
    if params.add_bias == 1u {
        sum += bias[at % params.n];
    }
    if params.accumulate == 1u {
        sum += c[at];
    }
    c[at] = sum;
}
