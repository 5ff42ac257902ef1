// softmax: y_s = exp(x_s - m) / Σ_j exp(x_j - m), m = max_j x_j, over the elements that take part
// x, y (rows, width); causal: row r is query r mod width, and keys beyond it take no part (y = 0)
// one workgroup per row; f32 sums, each thread its strided elements in order, then a tree
const WORKGROUP: u32 = 128u;

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
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var seen = params.width;
    if params.causal == 1u {
        seen = (params.first + row) % params.width + 1u;
    }
    // A thread without elements takes part in the maximum with the first.
    var mine = x[start];
    for (var i = local; i < seen; i += WORKGROUP) {
        mine = max(mine, x[start + i]);
    }
    let largest = reduce_max(local, mine);
    var part = 0.0;
    for (var i = local; i < seen; i += WORKGROUP) {
        let e = exp(x[start + i] - largest);
        part += e;
        y[start + i] = e;
    }
    let sum = reduce_sum(local, part);
    for (var i = local; i < params.width; i += WORKGROUP) {
        if i < seen {
            y[start + i] = y[start + i] / sum;
        } else {
            y[start + i] = 0.0;
        }
    }
}
