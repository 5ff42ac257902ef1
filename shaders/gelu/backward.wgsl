// gelu_backward: dx = dy (Φ(x) + x φ(x))
// x, dy, dx (len); one thread per element
const WORKGROUP: u32 = 256u;
// 0: exact Φ; 1: its tanh form
const TANH: u32 = 0u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn slope(v: f32) -> f32 {
    // Beyond ±30 the density is zero and Φ is 0 or 1; clamping keeps v³ finite.
    let c = clamp(v, -30.0, 30.0);
    if TANH == 1u {
        let t = stable_tanh(0.7978845608 * (c + 0.044715 * c * c * c));
        let du = 0.7978845608 * (1.0 + 0.134145 * c * c);
        return 0.5 * (1.0 + t) + 0.5 * c * (1.0 - t * t) * du;
    }
    return normal_cdf(c) + c * 0.3989422804 * exp(-0.5 * c * c);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        dx[i] = dy[i] * slope(x[i]);
    }
}
