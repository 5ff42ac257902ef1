// matmul: C = scale · A·B + bias (+ C), tiles of A and B staged in workgroup memory
// Operands and parameters as in common/matmul.wgsl.
// One workgroup of 16×16 threads computes TILE×TILE elements of C: 64×64, each thread one 4×4 block, or 128×128,
// each thread 2×2 blocks that lie 64 apart. Per stage along k, half of the threads bring one block of A each and
// the others one of B, in whichever layout they lie, so that all four layouts share one inner loop; they fetch the
// next stage while they compute. Sums run over k in order, in f32: RUN steps, then the next so many.
const TILE: u32 = 64u;

// Steps along k in one stage, and vectors in a row of a stage. Both tiles together fill 16 KiB.
const DEPTH: u32 = 2048u / TILE;
const VECTORS: u32 = TILE / 4u;

var<workgroup> tile_a: array<vec4<f32>, 512>;
var<workgroup> tile_b: array<vec4<f32>, 512>;

// Where vector v of step l stands: shuffled so that neighbours, along k or across, meet different memory banks.
fn slot(l: u32, v: u32) -> u32 {
    return l * VECTORS + (v ^ (l / 4u * (32u / DEPTH)));
}

// Block e of a stage: (step along k, vector). Neighbouring threads read neighbouring memory.
fn along_k(e: u32) -> vec2<u32> {
    return vec2(e % (DEPTH / 4u) * 4u, e / (DEPTH / 4u));
}

fn across_k(e: u32) -> vec2<u32> {
    return vec2(e / VECTORS * 4u, e % VECTORS);
}

// Column r is row r of the block.
fn outer(x: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x.x * y, x.y * y, x.z * y, x.w * y);
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let split = params.k_split > 0u;
    let pair = select(group.z, 0u, split);
    let first_l = group.z * params.k_split;
    let end_l = select(params.k, min(params.k, first_l + params.k_split), split);
    let a_first = pair * params.m * params.k + params.a_col;
    let b_first = pair * params.k * params.n + params.b_col;
    let first_i = group.y * TILE;
    let first_j = group.x * TILE;

    let of_a = thread < 128u;
    let e = thread % 128u;
    let is_along = select(TRANSPOSE_B == 1u, TRANSPOSE_A == 0u, of_a);
    let at = select(across_k(e), along_k(e), is_along);
    var next: mat4x4<f32>;
    if of_a {
        next = block_a(a_first, first_i + at.y * 4u, first_l + at.x);
    } else {
        next = block_b(b_first, first_l + at.x, first_j + at.y * 4u);
    }
    let i = first_i + local.y * 4u;
    let j = first_j + local.x * 4u;
    for (var run = first_l; run < end_l; run += RUN) {
        var c00 = mat4x4<f32>();
        var c01 = mat4x4<f32>();
        var c10 = mat4x4<f32>();
        var c11 = mat4x4<f32>();
        for (var begin = run; begin < min(end_l, run + RUN); begin += DEPTH) {
            let l = begin + DEPTH + at.x;
            if of_a {
                tile_a[slot(at.x, at.y)] = next[0];
                tile_a[slot(at.x + 1u, at.y)] = next[1];
                tile_a[slot(at.x + 2u, at.y)] = next[2];
                tile_a[slot(at.x + 3u, at.y)] = next[3];
                next = block_a(a_first, first_i + at.y * 4u, l);
            } else {
                tile_b[slot(at.x, at.y)] = next[0];
                tile_b[slot(at.x + 1u, at.y)] = next[1];
                tile_b[slot(at.x + 2u, at.y)] = next[2];
                tile_b[slot(at.x + 3u, at.y)] = next[3];
                next = block_b(b_first, l, first_j + at.y * 4u);
            }
            workgroupBarrier();
            for (var s = 0u; s < DEPTH; s++) {
                let a0 = tile_a[slot(s, local.y)];
                let b0 = tile_b[slot(s, local.x)];
                c00 += outer(a0, b0);
                if TILE == 128u {
                    let a1 = tile_a[slot(s, local.y + 16u)];
                    let b1 = tile_b[slot(s, local.x + 16u)];
                    c01 += outer(a0, b1);
                    c10 += outer(a1, b0);
                    c11 += outer(a1, b1);
                }
            }
            workgroupBarrier();
        }
        let is_first = run == first_l;
        store(group.z, i, j, is_first, c00);
        if TILE == 128u {
            store(group.z, i, j + 64u, is_first, c01);
            store(group.z, i + 64u, j, is_first, c10);
            store(group.z, i + 64u, j + 64u, is_first, c11);
        }
    }
}
