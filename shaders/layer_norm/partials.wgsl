// layer_norm_weights, first pass: sums over a block of rows
//   partials[2 block] = Σ dy x̂ and partials[2 block + 1] = Σ dy, with x̂ = (x - mean) rstd,
//   or x rstd without CENTRED, for rms_norm
// dy, x (rows, width); mean, rstd (rows); partials (2 blocks, width)
// Workgroup (i, block): one thread per column, rows in order.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 32u;
// 1 when the mean was subtracted from x
const CENTRED: u32 = 1u;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let column = group.x * WORKGROUP + local;
    if column >= params.width {
        return;
    }
    var weight = 0.0;
    var bias = 0.0;
    let end = min((group.y + 1u) * ROWS, params.rows);
    for (var row = group.y * ROWS; row < end; row++) {
        let g = dy[row * params.width + column];
        var v = x[row * params.width + column];
        if CENTRED == 1u {
            v -= mean[row];
        }
        weight += g * v * rstd[row];
        bias += g;
    }
    partials[2u * group.y * params.width + column] = weight;
    partials[(2u * group.y + 1u) * params.width + column] = bias;
}
