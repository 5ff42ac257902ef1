// matmul: C = scale · A·B + bias (+ C), a large tile in the registers of each thread, no workgroup memory
// Operands and parameters as in common/matmul.wgsl.
// Each thread computes 8×8 elements of C as 2×2 blocks; threads are numbered along the rows of such tiles, 32 to
// a workgroup, so that narrow matrices leave none idle. Sums run over k in order, four products at a time, in f32,
// RUN steps and then the next so many.
@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = (group.x + group.y * groups.x) * 32u + thread;
    let across = (params.n + 7u) / 8u;
    let i = tile / across * 8u;
    let j = tile % across * 8u;
    if i >= params.m {
        return;
    }
    let a_first = group.z * params.m * params.k + params.a_col;
    let b_first = group.z * params.k * params.n + params.b_col;
    for (var first = 0u; first < params.k; first += RUN) {
        var c00 = mat4x4<f32>();
        var c01 = mat4x4<f32>();
        var c10 = mat4x4<f32>();
        var c11 = mat4x4<f32>();
        for (var l = first; l < min(params.k, first + RUN); l += 4u) {
            let b0 = block_b(b_first, l, j);
            let b1 = block_b(b_first, l, j + 4u);
            let a0 = transpose(block_a(a_first, i, l));
            c00 += b0 * a0;
            c01 += b1 * a0;
            let a1 = transpose(block_a(a_first, i + 4u, l));
            c10 += b0 * a1;
            c11 += b1 * a1;
        }
        store(group.z, i, j, first == 0u, c00);
        store(group.z, i, j + 4u, first == 0u, c01);
        store(group.z, i + 4u, j, first == 0u, c10);
        store(group.z, i + 4u, j + 4u, first == 0u, c11);
    }
}
