// layer_norm_backward: dx = rstd (g - mean(g) - x̂ mean(g x̂)) + dresidual
//   with g = dy weight and x̂ = (x - mean) rstd; without CENTRED, rms_norm's, no mean is subtracted
// dy, x, dresidual, dx (rows, width); weight (width); mean, rstd (rows)
// One workgroup per row; f32 sums, strided by thread, then a tree.
// 1 when the mean was subtracted from x
const CENTRED: u32 = 1u;
// 1 when the residual stream brings a gradient of its own
const RESIDUAL: u32 = 0u;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read> dresidual: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

fn each_row(row: u32, local: u32) {
    let first = row * params.width;
    let n = f32(params.width);
    let r = rstd[row];
    var m = 0.0;
    if CENTRED == 1u {
        m = mean[row];
    }

    var sum = 0.0;
    var sum_x = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        let g = dy[first + i] * weight[i];
        sum += g;
        sum_x += g * (x[first + i] - m) * r;
    }
    var mean_g = 0.0;
    if CENTRED == 1u {
        mean_g = reduce_sum(local, sum) / n;
    }
    let mean_gx = reduce_sum(local, sum_x) / n;

    for (var i = local; i < params.width; i += WORKGROUP) {
        var v = r * (dy[first + i] * weight[i] - mean_g - (x[first + i] - m) * r * mean_gx);
        if RESIDUAL == 1u {
            v += dresidual[first + i];
        }
        dx[first + i] = v;
    }
}
