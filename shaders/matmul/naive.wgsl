// matmul: C = scale · A·B + bias (+ C), one thread per element of C
// a (batch, m, k) or, transposed, (batch, k, m); b (batch, k, n) or (batch, n, k); bias (n); c (batch, m, n)
// Rows of a, b and c begin a_width, b_width and c_width apart, columns at a_col, b_col and c_col.
// One workgroup computes 8×8 elements of one pair. Sums run over k in order, in f32: RUN steps, then the next so many,
// as a large sum swallows small terms.
const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;
const RUN: u32 = 4096u;

struct Params {
    m: u32, n: u32, k: u32,
    a_width: u32, b_width: u32, c_width: u32,
    a_col: u32, b_col: u32, c_col: u32,
    scale: f32, accumulate: u32, add_bias: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let i = at.y;
    let j = at.x;
    if i >= params.m || j >= params.n {
        return;
    }
    // Batches follow one another without a gap.
    let a_first = at.z * params.m * params.k + params.a_col;
    let b_first = at.z * params.k * params.n + params.b_col;
    var sum = 0.0;
    for (var first = 0u; first < params.k; first += RUN) {
        var run = 0.0;
        for (var l = first; l < min(params.k, first + RUN); l++) {
            let x = a[a_first + select(i * params.a_width + l, l * params.a_width + i, TRANSPOSE_A == 1u)];
            let y = b[b_first + select(l * params.b_width + j, j * params.b_width + l, TRANSPOSE_B == 1u)];
            run += x * y;
        }
        sum += run;
    }
    sum *= params.scale;
    if params.add_bias == 1u {
        sum += bias[params.c_col + j];
    }
    let at_c = at.z * params.m * params.n + i * params.c_width + params.c_col + j;
    if params.accumulate == 1u {
        sum += c[at_c];
    }
    c[at_c] = sum;
}
