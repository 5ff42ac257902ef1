// matches: y_t = how many of x_t, x_(t + threads), … are `expected`: what a probe computed is checked where it is
// x (len); y (threads)
const WORKGROUP: u32 = 256u;

struct Params { len: u32, threads: u32, expected: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let thread = group.x * WORKGROUP + local;
    var count = 0u;
    for (var i = thread; i < params.len; i += params.threads) {
        count += u32(x[i] == params.expected);
    }
    y[thread] = f32(count);
}
