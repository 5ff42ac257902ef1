// combine: y = a x + b z, or a x alone, or y = a y + b z in place
// x, z, y (len); one thread per element
const WORKGROUP: u32 = 256u;
// 1 when there is a z
const SECOND: u32 = 1u;
// 1 when y itself is x; z is bound in its place and not read
const IN_PLACE: u32 = 0u;

struct Params { first: u32, len: u32, a: f32, b: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i >= params.len {
        return;
    }
    var v: f32;
    if IN_PLACE == 1u {
        v = params.a * y[i];
    } else {
        v = params.a * x[i];
    }
    if SECOND == 1u {
        v += params.b * z[i];
    }
    y[i] = v;
}
