// workgroup_vectors: y = Σ of what a thread reads from workgroup memory, in vectors of 128 bits
// x (4096) is what that memory holds, as vectors; y (threads)
// In each of `rounds` rounds a thread reads 16 vectors; neighbouring threads read neighbouring vectors or, if PAIRED,
// threads n and n^1 the same one. The vectors of a round are at fixed distances from its first, which moves on by one.
const WORKGROUP: u32 = 256u;
const PAIRED: bool = false;

struct Params { threads: u32, rounds: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>, 1024>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> vectors: array<vec4<f32>, 1024>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    for (var i = local; i < 1024u; i += WORKGROUP) {
        vectors[i] = x[i];
    }
    workgroupBarrier();

    // At most 255 + 31 + 15 · 48, which is below 1024.
    let first = select(local, local / 2u, PAIRED);
    var sum = vec4(0.0);
    for (var round = 0u; round < params.rounds; round++) {
        let at = first + (round & 31u);
        sum += vectors[at] + vectors[at + 48u] + vectors[at + 96u] + vectors[at + 144u];
        sum += vectors[at + 192u] + vectors[at + 240u] + vectors[at + 288u] + vectors[at + 336u];
        sum += vectors[at + 384u] + vectors[at + 432u] + vectors[at + 480u] + vectors[at + 528u];
        sum += vectors[at + 576u] + vectors[at + 624u] + vectors[at + 672u] + vectors[at + 720u];
    }
    let thread = (group.x + group.y * groups.x) * WORKGROUP + local;
    if thread < params.threads {
        y[thread] = sum.x + sum.y + sum.z + sum.w;
    }
}
