// matmul: C = scale · A·B + bias (+ C), a large tile in the registers of each thread, no workgroup memory
// Operands and parameters as in naive.wgsl.
// One workgroup of 8×8 threads computes 64×64 elements of C; thread (x, y) its 8 rows from 8 y on and the 8
// columns x, x + 8, …, so that neighbouring threads read neighbouring columns. What lies beyond an edge is read
// from the last row or column instead and never stored. Each sum runs over k in order, in f32.
const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;
const BIAS: u32 = 0u;

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

const ROWS: u32 = 8u;

fn store(batch: u32, i: u32, j: u32, value: f32) {
    if i >= params.m || j >= params.n {
        return;
    }
    var sum = value * params.scale;
    if BIAS == 1u && params.add_bias == 1u {
        sum += bias[params.c_col + j];
    }
    let at = batch * params.m * params.n + i * params.c_width + params.c_col + j;
    if params.accumulate == 1u {
        sum += c[at];
    }
    c[at] = sum;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let i = group.y * 64u + local.y * ROWS;
    let j = group.x * 64u + local.x;
    let a_first = group.z * params.m * params.k + params.a_col;
    let b_first = group.z * params.k * params.n + params.b_col;
    // Steps through memory along a row or column of C and along k.
    let a_row = select(params.a_width, 1u, TRANSPOSE_A == 1u);
    let a_step = select(1u, params.a_width, TRANSPOSE_A == 1u);
    let b_col = select(1u, params.b_width, TRANSPOSE_B == 1u);
    let b_step = select(params.b_width, 1u, TRANSPOSE_B == 1u);
    let last_i = params.m - 1u;
    let last_j = params.n - 1u;
    var at_a0 = a_first + min(i + 0u, last_i) * a_row;
    var at_a1 = a_first + min(i + 1u, last_i) * a_row;
    var at_a2 = a_first + min(i + 2u, last_i) * a_row;
    var at_a3 = a_first + min(i + 3u, last_i) * a_row;
    var at_a4 = a_first + min(i + 4u, last_i) * a_row;
    var at_a5 = a_first + min(i + 5u, last_i) * a_row;
    var at_a6 = a_first + min(i + 6u, last_i) * a_row;
    var at_a7 = a_first + min(i + 7u, last_i) * a_row;
    var at_b0 = b_first + min(j + 0u, last_j) * b_col;
    var at_b1 = b_first + min(j + 8u, last_j) * b_col;
    var at_b2 = b_first + min(j + 16u, last_j) * b_col;
    var at_b3 = b_first + min(j + 24u, last_j) * b_col;
    var at_b4 = b_first + min(j + 32u, last_j) * b_col;
    var at_b5 = b_first + min(j + 40u, last_j) * b_col;
    var at_b6 = b_first + min(j + 48u, last_j) * b_col;
    var at_b7 = b_first + min(j + 56u, last_j) * b_col;
    var c0 = vec4<f32>();
    var d0 = vec4<f32>();
    var c1 = vec4<f32>();
    var d1 = vec4<f32>();
    var c2 = vec4<f32>();
    var d2 = vec4<f32>();
    var c3 = vec4<f32>();
    var d3 = vec4<f32>();
    var c4 = vec4<f32>();
    var d4 = vec4<f32>();
    var c5 = vec4<f32>();
    var d5 = vec4<f32>();
    var c6 = vec4<f32>();
    var d6 = vec4<f32>();
    var c7 = vec4<f32>();
    var d7 = vec4<f32>();
    for (var l = 0u; l < params.k; l++) {
        let x = vec4(b[at_b0], b[at_b1], b[at_b2], b[at_b3]);
        let y = vec4(b[at_b4], b[at_b5], b[at_b6], b[at_b7]);
        let a0 = a[at_a0];
        c0 += a0 * x;
        d0 += a0 * y;
        let a1 = a[at_a1];
        c1 += a1 * x;
        d1 += a1 * y;
        let a2 = a[at_a2];
        c2 += a2 * x;
        d2 += a2 * y;
        let a3 = a[at_a3];
        c3 += a3 * x;
        d3 += a3 * y;
        let a4 = a[at_a4];
        c4 += a4 * x;
        d4 += a4 * y;
        let a5 = a[at_a5];
        c5 += a5 * x;
        d5 += a5 * y;
        let a6 = a[at_a6];
        c6 += a6 * x;
        d6 += a6 * y;
        let a7 = a[at_a7];
        c7 += a7 * x;
        d7 += a7 * y;
        at_a0 += a_step;
        at_a1 += a_step;
        at_a2 += a_step;
        at_a3 += a_step;
        at_a4 += a_step;
        at_a5 += a_step;
        at_a6 += a_step;
        at_a7 += a_step;
        at_b0 += b_step;
        at_b1 += b_step;
        at_b2 += b_step;
        at_b3 += b_step;
        at_b4 += b_step;
        at_b5 += b_step;
        at_b6 += b_step;
        at_b7 += b_step;
    }
    for (var q = 0u; q < 4u; q++) {
        store(group.z, i + 0u, j + 8u * q, c0[q]);
        store(group.z, i + 0u, j + 32u + 8u * q, d0[q]);
        store(group.z, i + 1u, j + 8u * q, c1[q]);
        store(group.z, i + 1u, j + 32u + 8u * q, d1[q]);
        store(group.z, i + 2u, j + 8u * q, c2[q]);
        store(group.z, i + 2u, j + 32u + 8u * q, d2[q]);
        store(group.z, i + 3u, j + 8u * q, c3[q]);
        store(group.z, i + 3u, j + 32u + 8u * q, d3[q]);
        store(group.z, i + 4u, j + 8u * q, c4[q]);
        store(group.z, i + 4u, j + 32u + 8u * q, d4[q]);
        store(group.z, i + 5u, j + 8u * q, c5[q]);
        store(group.z, i + 5u, j + 32u + 8u * q, d5[q]);
        store(group.z, i + 6u, j + 8u * q, c6[q]);
        store(group.z, i + 6u, j + 32u + 8u * q, d6[q]);
        store(group.z, i + 7u, j + 8u * q, c7[q]);
        store(group.z, i + 7u, j + 32u + 8u * q, d7[q]);
    }
}
