// attention_cached, first: the keys and values of n new tokens of each stream into its cache, from row `position` on
// qkv (streams, n, row): queries, then channels of keys and of values; keys, values (streams, room, channels);
// len = streams · n · channels
// one thread per channel of a token

struct Params { n: u32, room: u32, len: u32, row: u32, channels: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> keys: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    let token = i / params.channels;
    let channel = i % params.channels;
    let end = (token + 1u) * params.row + channel;
    let t = step.position + token % params.n;
    let to = (token / params.n * params.room + t) * params.channels + channel;
    keys[to] = qkv[end - 2u * params.channels];
    values[to] = qkv[end - params.channels];
}
