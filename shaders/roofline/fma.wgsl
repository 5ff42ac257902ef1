// fma: x ← ½ x + ½, ROUNDS times: the roofline's top, all that arithmetic can do
// x, y (len) as vectors of four; one thread per four vectors, which stay in registers
// 16 chains per thread that do not wait for each other hide the time one multiply-add takes
const WORKGROUP: u32 = 64u;
const ROUNDS: u32 = 1024u;
const VECTORS: u32 = 4u;

struct Params { quads: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = ((group.x + group.y * groups.x) * WORKGROUP + local) * VECTORS;
    if i >= params.quads {
        return;
    }
    let half = vec4(0.5);
    var a = x[i];
    var b = x[i + 1u];
    var c = x[i + 2u];
    var d = x[i + 3u];
    for (var round = 0u; round < ROUNDS; round++) {
        a = fma(a, half, half);
        b = fma(b, half, half);
        c = fma(c, half, half);
        d = fma(d, half, half);
    }
    y[i] = a;
    y[i + 1u] = b;
    y[i + 2u] = c;
    y[i + 3u] = d;
}
