// matmul: C = scale · A·B + bias (+ C), tiles of A and B staged in workgroup memory
// Operands and parameters as in naive.wgsl.
// One workgroup of 16×16 threads computes 64×64 elements of C, each thread 4×4 of them in registers. Along k it
// stages 16 columns of A and 16 rows of B at a time, A transposed, so that all four layouts share one inner
// loop; rows of a tile are padded by four elements so that neighbouring threads meet different memory banks.
// Each sum runs over k in order, in f32.
const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;
const BIAS: u32 = 0u;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const STRIDE: u32 = 68u;

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

var<workgroup> tile_a: array<f32, DEPTH * STRIDE>;
var<workgroup> tile_b: array<f32, DEPTH * STRIDE>;

// Where element e of a tile stands: (row or column of C, step along k). Neighbouring threads read neighbouring
// memory whichever way the operand is laid out.
fn along_k(e: u32) -> vec2<u32> {
    return vec2(e / DEPTH, e % DEPTH);
}

fn across_k(e: u32) -> vec2<u32> {
    return vec2(e % TILE, e / TILE);
}

fn store(batch: u32, i: u32, j: u32, values: vec4<f32>) {
    if i >= params.m {
        return;
    }
    for (var s = 0u; s < 4u; s++) {
        if j + s < params.n {
            var sum = values[s] * params.scale;
            if BIAS == 1u && params.add_bias == 1u {
                sum += bias[params.c_col + j + s];
            }
            let at = batch * params.m * params.n + i * params.c_width + params.c_col + j + s;
            if params.accumulate == 1u {
                sum += c[at];
            }
            c[at] = sum;
        }
    }
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_i = group.y * TILE;
    let first_j = group.x * TILE;
    let a_first = group.z * params.m * params.k + params.a_col;
    let b_first = group.z * params.k * params.n + params.b_col;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();

    for (var first_l = 0u; first_l < params.k; first_l += DEPTH) {
        for (var e = thread; e < TILE * DEPTH; e += 256u) {
            var at = along_k(e);
            if TRANSPOSE_A == 1u {
                at = across_k(e);
            }
            let i = first_i + at.x;
            let l = first_l + at.y;
            var v = 0.0;
            if i < params.m && l < params.k {
                v = a[a_first + select(i * params.a_width + l, l * params.a_width + i, TRANSPOSE_A == 1u)];
            }
            tile_a[at.y * STRIDE + at.x] = v;
        }
        for (var e = thread; e < TILE * DEPTH; e += 256u) {
            var at = across_k(e);
            if TRANSPOSE_B == 1u {
                at = along_k(e);
            }
            let j = first_j + at.x;
            let l = first_l + at.y;
            var v = 0.0;
            if j < params.n && l < params.k {
                v = b[b_first + select(l * params.b_width + j, j * params.b_width + l, TRANSPOSE_B == 1u)];
            }
            tile_b[at.y * STRIDE + at.x] = v;
        }
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l++) {
            let x = l * STRIDE + local.y * 4u;
            let y = l * STRIDE + local.x * 4u;
            let row = vec4(tile_b[y], tile_b[y + 1u], tile_b[y + 2u], tile_b[y + 3u]);
            c0 += tile_a[x] * row;
            c1 += tile_a[x + 1u] * row;
            c2 += tile_a[x + 2u] * row;
            c3 += tile_a[x + 3u] * row;
        }
        workgroupBarrier();
    }
    let i = first_i + local.y * 4u;
    let j = first_j + local.x * 4u;
    store(group.z, i, j, c0);
    store(group.z, i + 1u, j, c1);
    store(group.z, i + 2u, j, c2);
    store(group.z, i + 3u, j, c3);
}
