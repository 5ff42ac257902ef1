// softmax_backward: dx_s = y_s (dy_s - Σ_j y_j dy_j)
// y, dy, dx (rows, width)
// one workgroup per row; the f32 sum by each thread's strided elements in order, then a tree
const WORKGROUP: u32 = 128u;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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
    var part = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        part += y[start + i] * dy[start + i];
    }
    let sum = reduce_sum(local, part);
    for (var i = local; i < params.width; i += WORKGROUP) {
        dx[start + i] = y[start + i] * (dy[start + i] - sum);
    }
}
