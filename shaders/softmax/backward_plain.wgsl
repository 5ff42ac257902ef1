// softmax_backward: dx_s = y_s (dy_s - Σ_j y_j dy_j)
// y, dy, dx (rows, width); one thread per row; the f32 sum in the order of the row
const WORKGROUP: u32 = 64u;

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
    let row = (group.x + group.y * groups.x) * WORKGROUP + local;
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    let end = start + params.width;
    var sum = 0.0;
    for (var i = start; i < end; i++) {
        sum += y[i] * dy[i];
    }
    for (var i = start; i < end; i++) {
        dx[i] = y[i] * (dy[i] - sum);
    }
}
