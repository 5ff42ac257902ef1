// activation: y = f(x), f one of
//   0: σ(x)   1: tanh(x)   2: max(x, 0)   3: max(x, 0)²   4: x σ(x)
// x, y (len); one thread per element
const WORKGROUP: u32 = 256u;
// which f
const KIND: u32 = 0u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn activation(v: f32) -> f32 {
    // NaN is not below zero, and stays.
    let positive = select(v, 0.0, v < 0.0);
    switch KIND {
        case 0u { return sigmoid(v); }
        case 1u { return stable_tanh(v); }
        case 2u { return positive; }
        case 3u { return positive * positive; }
        default { return v * sigmoid(v); }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        y[i] = activation(x[i]);
    }
}
