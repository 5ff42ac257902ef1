// attention_cached, first: the keys and values of n new tokens into the cache, from row `position` on
// qkv (n, row): queries, then channels of keys and of values; keys, values (T_max, channels); len = n · channels
// one thread per channel of a token
const WORKGROUP: u32 = 64u;

struct Params { len: u32, row: u32, channels: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> keys: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
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
    let end = (i / params.channels + 1u) * params.row + i % params.channels;
    let to = step.position * params.channels + i;
    keys[to] = qkv[end - 2u * params.channels];
    values[to] = qkv[end - params.channels];
}
