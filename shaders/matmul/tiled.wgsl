// matmul: C = scale · A·B + bias (+ C), tiles of A and B staged in workgroup memory
// Operands and parameters as in common/matmul.wgsl.
// One workgroup computes TILE_M×TILE_N elements of C: 64×64, 128×64 or 128×128. A warp of 32 threads computes 64 rows,
// a thread two quads of them, 32 rows apart, and QUADS quads of columns, 16 apart. Stages of 16 steps along k go
// through workgroup memory, in 4×4 blocks of A and of B, in whichever layout they lie, so that all four layouts share
// one inner loop; the next stage is fetched before the products of this one. Sums run over k in order, in f32: RUN
// steps, then the next so many.
const TILE_M: u32 = 64u;
const TILE_N: u32 = 64u;
const QUADS: u32 = 1u;
// Copies of a stage: one is filled while the other is read, which saves a barrier.
const COPIES: u32 = 1u;

const DEPTH: u32 = 16u;
const A_QUADS: u32 = TILE_M / 4u;
const B_QUADS: u32 = TILE_N / 4u;
const WARPS_M: u32 = TILE_M / 64u;
const THREADS: u32 = 32u * WARPS_M * (TILE_N / (16u * QUADS));
// A thread brings a block of A, a block of B, or one of each.
const BOTH: bool = TILE_M + TILE_N > THREADS;

var<workgroup> tile_a: array<vec4<f32>, COPIES * DEPTH * A_QUADS>;
var<workgroup> tile_b: array<vec4<f32>, COPIES * DEPTH * B_QUADS>;

// Where quad q of step l stands: shuffled so that neighbours, along k or across, meet different memory banks.
fn slot(l: u32, q: u32, quads: u32) -> u32 {
    return l * quads + (q ^ (l / 4u * 2u));
}

// Block e of a stage: (step along k, quad). Neighbouring threads read neighbouring memory.
fn place(e: u32, quads: u32, is_along_k: bool) -> vec2<u32> {
    let across = vec2(e / quads * 4u, e % quads);
    return select(across, vec2(e % 4u * 4u, e / 4u), is_along_k);
}

// As block_a, of a whole stage inside A.
fn inner_a(first: u32, i: u32, l: u32) -> mat4x4<f32> {
    let w = params.a_width / 4u;
    if TRANSPOSE_A == 1u {
        let at = (first + l * params.a_width + i) / 4u;
        return mat4x4(a4[at], a4[at + w], a4[at + 2u * w], a4[at + 3u * w]);
    }
    let at = (first + i * params.a_width + l) / 4u;
    return transpose(mat4x4(a4[at], a4[at + w], a4[at + 2u * w], a4[at + 3u * w]));
}

// As block_b, of a whole stage inside B.
fn inner_b(first: u32, l: u32, j: u32) -> mat4x4<f32> {
    let w = params.b_width / 4u;
    if TRANSPOSE_B == 1u {
        let at = (first + j * params.b_width + l) / 4u;
        return transpose(mat4x4(b4[at], b4[at + w], b4[at + 2u * w], b4[at + 3u * w]));
    }
    let at = (first + l * params.b_width + j) / 4u;
    return mat4x4(b4[at], b4[at + w], b4[at + 2u * w], b4[at + 3u * w]);
}

fn fetch_a(first: u32, i: u32, l: u32, is_inside: bool) -> mat4x4<f32> {
    if is_inside && params.vectors_a == 1u {
        return inner_a(first, i, l);
    }
    return block_a(first, i, l);
}

fn fetch_b(first: u32, l: u32, j: u32, is_inside: bool) -> mat4x4<f32> {
    if is_inside && params.vectors_b == 1u {
        return inner_b(first, l, j);
    }
    return block_b(first, l, j);
}

fn put_a(stage: u32, at: vec2<u32>, block: mat4x4<f32>) {
    let first = stage % COPIES * DEPTH * A_QUADS + slot(at.x, at.y, A_QUADS);
    tile_a[first] = block[0];
    tile_a[first + A_QUADS] = block[1];
    tile_a[first + 2u * A_QUADS] = block[2];
    tile_a[first + 3u * A_QUADS] = block[3];
}

fn put_b(stage: u32, at: vec2<u32>, block: mat4x4<f32>) {
    let first = stage % COPIES * DEPTH * B_QUADS + slot(at.x, at.y, B_QUADS);
    tile_b[first] = block[0];
    tile_b[first + B_QUADS] = block[1];
    tile_b[first + 2u * B_QUADS] = block[2];
    tile_b[first + 3u * B_QUADS] = block[3];
}

// sum + x yᵀ
fn add_outer(sum: mat4x4<f32>, x: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(x.x), y, sum[0]),
        fma(vec4(x.y), y, sum[1]),
        fma(vec4(x.z), y, sum[2]),
        fma(vec4(x.w), y, sum[3]),
    );
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let split = params.k_split > 0u;
    let pair = select(group.z, 0u, split);
    let first_l = group.z * params.k_split;
    let end_l = select(params.k, min(params.k, first_l + params.k_split), split);
    let a_first = pair * params.m * params.k + params.a_col;
    let b_first = pair * params.k * params.n + params.b_col;
    let first_i = group.y * TILE_M;
    let first_j = group.x * TILE_N;
    let inside_a = first_i + TILE_M <= params.m;
    let inside_b = first_j + TILE_N <= params.n;

    let brings_a = thread < TILE_M;
    let brings_b = thread >= THREADS - TILE_N;
    let from_a = place(thread, A_QUADS, TRANSPOSE_A == 0u);
    let from_b = place(thread - (THREADS - TILE_N), B_QUADS, TRANSPOSE_B == 1u);

    // Of 8 by 4 lanes, neighbours read the same quad of A or of B at once.
    let warp = thread / 32u;
    let row = warp % WARPS_M * 16u + thread / 2u % 2u + thread / 8u % 4u * 2u;
    let col = warp / WARPS_M * 4u * QUADS + thread % 2u + thread / 4u % 2u * 2u;

    let i = first_i + row * 4u;
    let j = first_j + col * 4u;
    var next = mat4x4<f32>();
    var next_b = mat4x4<f32>();
    for (var run = first_l; run < end_l; run += RUN) {
        // Rows and, with two QUADS, columns 0 and 1. Column r of a block is its row r.
        var c00 = mat4x4<f32>();
        var c01 = mat4x4<f32>();
        var c10 = mat4x4<f32>();
        var c11 = mat4x4<f32>();
        let stages = (min(end_l - run, RUN) + DEPTH - 1u) / DEPTH;
        for (var stage = 0u; stage <= stages; stage++) {
            let l = run + stage * DEPTH;
            if stage < stages {
                let is_whole = l + DEPTH <= params.k;
                if brings_a {
                    next = fetch_a(a_first, first_i + from_a.y * 4u, l + from_a.x, is_whole && inside_a);
                }
                if brings_b {
                    let block = fetch_b(b_first, l + from_b.x, first_j + from_b.y * 4u, is_whole && inside_b);
                    if BOTH {
                        next_b = block;
                    } else {
                        next = block;
                    }
                }
            }
            if stage > 0u {
                let copy = (stage - 1u) % COPIES * DEPTH;
                for (var s = 0u; s < DEPTH; s += 4u) {
                    // Four steps written out: drivers leave the loop a loop.
                    let at_a = copy * A_QUADS + slot(s, row, A_QUADS);
                    let at_b = copy * B_QUADS + slot(s, col, B_QUADS);
                    let a00 = tile_a[at_a];
                    let a01 = tile_a[at_a + 8u];
                    let b00 = tile_b[at_b];
                    c00 = add_outer(c00, a00, b00);
                    c10 = add_outer(c10, a01, b00);
                    if QUADS == 2u {
                        let b01 = tile_b[at_b ^ 4u];
                        c01 = add_outer(c01, a00, b01);
                        c11 = add_outer(c11, a01, b01);
                    }
                    let a10 = tile_a[at_a + A_QUADS];
                    let a11 = tile_a[at_a + A_QUADS + 8u];
                    let b10 = tile_b[at_b + B_QUADS];
                    c00 = add_outer(c00, a10, b10);
                    c10 = add_outer(c10, a11, b10);
                    if QUADS == 2u {
                        let b11 = tile_b[(at_b + B_QUADS) ^ 4u];
                        c01 = add_outer(c01, a10, b11);
                        c11 = add_outer(c11, a11, b11);
                    }
                    let a20 = tile_a[at_a + 2u * A_QUADS];
                    let a21 = tile_a[at_a + 2u * A_QUADS + 8u];
                    let b20 = tile_b[at_b + 2u * B_QUADS];
                    c00 = add_outer(c00, a20, b20);
                    c10 = add_outer(c10, a21, b20);
                    if QUADS == 2u {
                        let b21 = tile_b[(at_b + 2u * B_QUADS) ^ 4u];
                        c01 = add_outer(c01, a20, b21);
                        c11 = add_outer(c11, a21, b21);
                    }
                    let a30 = tile_a[at_a + 3u * A_QUADS];
                    let a31 = tile_a[at_a + 3u * A_QUADS + 8u];
                    let b30 = tile_b[at_b + 3u * B_QUADS];
                    c00 = add_outer(c00, a30, b30);
                    c10 = add_outer(c10, a31, b30);
                    if QUADS == 2u {
                        let b31 = tile_b[(at_b + 3u * B_QUADS) ^ 4u];
                        c01 = add_outer(c01, a30, b31);
                        c11 = add_outer(c11, a31, b31);
                    }
                }
            }
            if stage < stages {
                if COPIES == 1u {
                    workgroupBarrier();
                }
                if brings_a {
                    put_a(stage, from_a, next);
                }
                if brings_b {
                    if BOTH {
                        put_b(stage, from_b, next_b);
                    } else {
                        put_b(stage, from_b, next);
                    }
                }
                workgroupBarrier();
            }
        }
        let is_first = run == first_l;
        store(group.z, i, j, is_first, c00);
        store(group.z, i + 32u, j, is_first, c10);
        if QUADS == 2u {
            store(group.z, i, j + 16u, is_first, c01);
            store(group.z, i + 32u, j + 16u, is_first, c11);
        }
    }
}
