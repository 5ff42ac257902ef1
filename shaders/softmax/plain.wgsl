// softmax: y_s = exp(x_s - m) / Σ_j exp(x_j - m), m = max_j x_j, over the elements that take part
// x, y (rows, width); causal: row r is query r mod width, and keys beyond it take no part (y = 0)
// one thread per row; f32 sums in the order of the row
const WORKGROUP: u32 = 64u;

struct Params { first: u32, causal: u32, rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.x + group.y * groups.x) * WORKGROUP + local;
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    let end = start + params.width;
    var seen = end;
    if params.causal == 1u {
        seen = start + (params.first + row) % params.width + 1u;
    }
    var largest = x[start];
    for (var i = start; i < seen; i++) {
        largest = max(largest, x[i]);
    }
    var sum = 0.0;
    for (var i = start; i < seen; i++) {
        let e = exp(x[i] - largest);
        sum += e;
        y[i] = e;
    }
    for (var i = start; i < seen; i++) {
        y[i] = y[i] / sum;
    }
    for (var i = seen; i < end; i++) {
        y[i] = 0.0;
    }
}
