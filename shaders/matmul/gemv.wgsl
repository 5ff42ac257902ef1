// matmul: c = scale · a·B + bias (+ c), for A of a single row: decoding
// Operands and parameters as in naive.wgsl, m = 1.
// One workgroup of 256 threads computes COLS elements of c: SLICES threads share each sum, thread s taking steps
// s, s + SLICES, … along k in order, in f32; their partial sums are added as a tree. Neighbouring threads read
// neighbouring memory: along k where b is transposed (many slices), else along its rows (many columns).
const TRANSPOSE_B: u32 = 0u;
const COLS: u32 = 32u;
const SLICES: u32 = 256u / COLS;

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

// Sum s of column q at s * COLS + q.
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    var slice = thread / COLS;
    var col = thread % COLS;
    if TRANSPOSE_B == 1u {
        slice = thread % SLICES;
        col = thread / SLICES;
    }
    let j = group.x * COLS + col;
    // A row of A, or of its transpose a column of width 1: consecutive either way.
    let a_first = group.z * params.k + params.a_col;
    let b_first = group.z * params.k * params.n + params.b_col;
    var sum = 0.0;
    if j < params.n {
        for (var l = slice; l < params.k; l += SLICES) {
            let y = b[b_first + select(l * params.b_width + j, j * params.b_width + l, TRANSPOSE_B == 1u)];
            sum += a[a_first + l] * y;
        }
    }
    sums[slice * COLS + col] = sum;
    for (var reach = SLICES / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if slice < reach {
            sums[slice * COLS + col] += sums[(slice + reach) * COLS + col];
        }
    }
    if slice > 0u || j >= params.n {
        return;
    }
    sum = sums[col] * params.scale;
    if params.add_bias == 1u {
        sum += bias[params.c_col + j];
    }
    let at = group.z * params.n + params.c_col + j;
    if params.accumulate == 1u {
        sum += c[at];
    }
    c[at] = sum;
}
