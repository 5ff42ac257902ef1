// activation_backward: dx = dy f'(x), f' one of
//   0: σ'(x)   1: 1 - tanh²(x) = 4 σ'(2x)   2: 1 where x > 0   3: 2 max(x, 0)   4: σ(x) + x σ'(x)
// x, dy, dx (len); one thread per element
const WORKGROUP: u32 = 256u;
// which f
const KIND: u32 = 0u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn slope(v: f32) -> f32 {
    switch KIND {
        case 0u { return sigmoid_slope(v); }
        case 1u { return 4.0 * sigmoid_slope(2.0 * v); }
        case 2u { return select(0.0, 1.0, v > 0.0); }
        case 3u { return 2.0 * select(v, 0.0, v < 0.0); }
        default { return sigmoid(v) + v * sigmoid_slope(v); }
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
        dx[i] = dy[i] * slope(x[i]);
    }
}
