// attention_backward, first: delta_bht = Σ_d dout_bt(h,d) · out_bt(h,d)
// out, dout (batch, time, n_head, width), delta (batch, n_head, time); heads = batch · n_head
// one thread per query of a head; the f32 sum in order
const WORKGROUP: u32 = 64u;

struct Params { heads: u32, n_head: u32, time: u32, width: u32 }

@group(0) @binding(0) var<storage, read> out: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i >= params.heads * params.time {
        return;
    }
    let t = i % params.time;
    let b = i / params.time / params.n_head;
    let h = i / params.time % params.n_head;
    let start = ((b * params.time + t) * params.n_head + h) * params.width;
    var sum = 0.0;
    for (var d = 0u; d < params.width; d++) {
        sum += dout[start + d] * out[start + d];
    }
    delta[i] = sum;
}
