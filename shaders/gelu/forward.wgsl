// gelu: y = x Φ(x)
// x, y (len); one thread per element
const WORKGROUP: u32 = 256u;
// 0: exact Φ; 1: its tanh form, ½ (1 + tanh(√(2/π) (x + 0.044715 x³)))
const TANH: u32 = 0u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn gelu(v: f32) -> f32 {
    if TANH == 1u {
        return 0.5 * v * (1.0 + stable_tanh(0.7978845608 * (v + 0.044715 * v * v * v)));
    }
    return v * normal_cdf(v);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        y[i] = gelu(x[i]);
    }
}
