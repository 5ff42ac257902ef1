// layer_norm_weights in one pass, for few rows: dweight = Σ dy x̂ (PART 0) or dbias = Σ dy (PART 1), or total + that,
//   with x̂ = (x - mean) rstd, or x rstd without CENTRED, for rms_norm
// dy, x (rows, width); mean, rstd (rows); total (width): dweight or dbias
// One workgroup for COLUMNS columns: TEAMS threads of a column take every TEAMS-th row, in order; then a tree.
const WORKGROUP: u32 = 256u;
const COLUMNS: u32 = 8u;
const TEAMS: u32 = WORKGROUP / COLUMNS;
// 1 when the mean was subtracted from x
const CENTRED: u32 = 1u;
const PART: u32 = 0u;

struct Params { rows: u32, width: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> total: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> sums: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = (group.x + group.y * groups.x) * COLUMNS + local % COLUMNS;
    let team = local / COLUMNS;
    var sum = 0.0;
    if column < params.width {
        for (var row = team; row < params.rows; row += TEAMS) {
            var g = dy[row * params.width + column];
            if PART == 0u {
                var v = x[row * params.width + column];
                if CENTRED == 1u {
                    v -= mean[row];
                }
                g *= v * rstd[row];
            }
            sum += g;
        }
    }
    sums[local] = sum;
    workgroupBarrier();
    for (var half = TEAMS / 2u; half > 0u; half /= 2u) {
        if team < half {
            sums[local] += sums[local + half * COLUMNS];
        }
        workgroupBarrier();
    }
    if team == 0u && column < params.width {
        var all = sums[local];
        if params.accumulate == 1u {
            all += total[column];
        }
        total[column] = all;
    }
}
