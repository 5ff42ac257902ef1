// rnn_cell: h' = tanh(gx + gh), gx from row `first` on
// gx (… , width), gh, h' (batch, width); one thread per element of h'
const WORKGROUP: u32 = 256u;

struct Params { first: u32, batch: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read_write> h_next: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.batch * params.width {
        h_next[i] = stable_tanh(gx[params.first * params.width + i] + gh[i]);
    }
}
