// merge_heads: rows_bt(h,d) = heads_(b,h)td; add_heads: rows_bt(part,h,d) += heads_(b,h)td
// heads (batch, n_head, time, width), rows (batch, time, parts, n_head, width); len = heads in elements
// one thread per element
// 0: merge_heads; 1: add_heads
const ADD: u32 = 0u;

struct Params { len: u32, time: u32, n_head: u32, width: u32, part: u32, parts: u32 }

@group(0) @binding(0) var<storage, read> heads: array<f32>;
@group(0) @binding(1) var<storage, read_write> rows: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    let d = i % params.width;
    let t = i / params.width % params.time;
    let h = i / (params.width * params.time) % params.n_head;
    let b = i / (params.width * params.time * params.n_head);
    let row = b * params.time + t;
    let at = ((row * params.parts + params.part) * params.n_head + h) * params.width + d;
    if ADD == 1u {
        rows[at] = rows[at] + heads[i];
    } else {
        rows[at] = heads[i];
    }
}
