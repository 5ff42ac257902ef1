// Operands of matmul in 4×4 blocks, for the kernels that keep blocks in registers.
// a, b, bias and parameters as in naive.wgsl, c in store.wgsl or store_vectors.wgsl; a4 and b4 are a and b again, read
// four elements at a time where VECTOR_A and VECTOR_B, or vectors_a and vectors_b, say that their rows are whole
// vectors. Beyond an edge, operands read as zero.
const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;
const VECTOR_A: u32 = 0u;
const VECTOR_B: u32 = 0u;
// Steps along k after which a sum is stored and begun anew, to be added: a large sum swallows small terms.
const RUN: u32 = 4096u;

struct Params {
    m: u32, n: u32, k: u32,
    a_width: u32, b_width: u32, c_width: u32,
    a_col: u32, b_col: u32, c_col: u32,
    scale: f32, accumulate: u32, add_bias: u32,
    // Where not 0, layer z of the grid is no pair of a batch but the z-th so many steps along k.
    k_split: u32,
    vectors_a: u32, vectors_b: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> a4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> b4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// Four neighbours in a row of a, as it lies in memory.
fn four_a(first: u32, row: u32, col: u32) -> vec4<f32> {
    let rows = select(params.m, params.k, TRANSPOSE_A == 1u);
    let cols = select(params.k, params.m, TRANSPOSE_A == 1u);
    let at = first + min(row, rows - 1u) * params.a_width;
    if VECTOR_A == 1u {
        return select(vec4<f32>(), a4[(at + min(col, cols - 1u)) / 4u], row < rows && col < cols);
    }
    let near = min(vec4(col, col + 1u, col + 2u, col + 3u), vec4(cols - 1u));
    let all = vec4(a[at + near.x], a[at + near.y], a[at + near.z], a[at + near.w]);
    return select(vec4<f32>(), all, (vec4(row) < vec4(rows)) & (near == col + vec4(0u, 1u, 2u, 3u)));
}

// Four neighbours in a row of b, as it lies in memory.
fn four_b(first: u32, row: u32, col: u32) -> vec4<f32> {
    let rows = select(params.k, params.n, TRANSPOSE_B == 1u);
    let cols = select(params.n, params.k, TRANSPOSE_B == 1u);
    let at = first + min(row, rows - 1u) * params.b_width;
    if VECTOR_B == 1u {
        return select(vec4<f32>(), b4[(at + min(col, cols - 1u)) / 4u], row < rows && col < cols);
    }
    let near = min(vec4(col, col + 1u, col + 2u, col + 3u), vec4(cols - 1u));
    let all = vec4(b[at + near.x], b[at + near.y], b[at + near.z], b[at + near.w]);
    return select(vec4<f32>(), all, (vec4(row) < vec4(rows)) & (near == col + vec4(0u, 1u, 2u, 3u)));
}

// Column s holds four rows of A from i on, at step l + s along k.
fn block_a(first: u32, i: u32, l: u32) -> mat4x4<f32> {
    if TRANSPOSE_A == 1u {
        return mat4x4(four_a(first, l, i), four_a(first, l + 1u, i), four_a(first, l + 2u, i), four_a(first, l + 3u, i));
    }
    return transpose(
        mat4x4(four_a(first, i, l), four_a(first, i + 1u, l), four_a(first, i + 2u, l), four_a(first, i + 3u, l)));
}

// Column s holds four columns of B from j on, at step l + s along k.
fn block_b(first: u32, l: u32, j: u32) -> mat4x4<f32> {
    if TRANSPOSE_B == 1u {
        return transpose(
            mat4x4(four_b(first, j, l), four_b(first, j + 1u, l), four_b(first, j + 2u, l), four_b(first, j + 3u, l)));
    }
    return mat4x4(four_b(first, l, j), four_b(first, l + 1u, j), four_b(first, l + 2u, j), four_b(first, l + 3u, j));
}
