// attention_cached, first: the keys and values of n new tokens into the cache, from row `position` on
// qkv (n, 3, channels), keys, values (T_max, channels); len = n · channels; one thread per channel of a token
const WORKGROUP: u32 = 64u;

struct Params { len: u32, channels: u32 }

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
    let start = i / params.channels * 3u * params.channels + i % params.channels;
    let to = step.position * params.channels + i;
    keys[to] = qkv[start + params.channels];
    values[to] = qkv[start + 2u * params.channels];
}
