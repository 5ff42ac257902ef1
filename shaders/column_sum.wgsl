// column_sum: y_j = Σ_i x_ij, or y_j + Σ_i x_ij
// x (rows, width), y (width or more): of y the first `written` are, those from `width` on as sums of nothing
// One workgroup sums 16 neighbouring columns with 16 threads each, every thread taking every 16th row.
struct Params { rows: u32, width: u32, written: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> scratch: array<array<f32, 16>, 16>;

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let column = (group.x + group.y * groups.x) * 16u + local.x;
    var sum = 0.0;
    if column < params.width {
        for (var row = local.y; row < params.rows; row += 16u) {
            sum += x[row * params.width + column];
        }
    }
    scratch[local.y][local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && column < params.written {
        for (var i = 1u; i < 16u; i++) {
            sum += scratch[i][local.x];
        }
        if params.accumulate == 1u {
            sum += y[column];
        }
        y[column] = sum;
    }
}
