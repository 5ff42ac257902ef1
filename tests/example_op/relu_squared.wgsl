// relu_squared: y = max(x, 0)², or with BACKWARD dx = 2 max(x, 0) dy
// x, dy, out (len); one thread per element
const WORKGROUP: u32 = 256u;
// 1 for the derivative
const BACKWARD: u32 = 0u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
// the second factor: x itself, or dy
@group(0) @binding(1) var<storage, read> factor: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // A grid longer than one axis goes on in y.
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i >= params.len {
        return;
    }
    let positive = max(x[i], 0.0);
    if BACKWARD == 1u {
        out[i] = 2.0 * positive * factor[i];
    } else {
        out[i] = positive * factor[i];
    }
}
