// gated: y = silu(g) u, silu(g) = g σ(g)
// g, u, y (len); one thread per element
const WORKGROUP: u32 = 256u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        y[i] = g[i] * sigmoid(g[i]) * u[i];
    }
}
