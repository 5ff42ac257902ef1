// attention_backward: dq = Σ partials, where the keys of one_pass were split
// partials (batch, splits, time, n_head, width), dqkv (batch, time, n_head + 2 n_kv_head, width)
// One thread per element of dq; partials are added in order, in f32.

struct Params { len: u32, item: u32, splits: u32, out_row: u32, qkv_row: u32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    let first = i / params.item * params.splits * params.item + i % params.item;
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += partials[first + split * params.item];
    }
    dqkv[i / params.out_row * params.qkv_row + i % params.out_row] = sum;
}
