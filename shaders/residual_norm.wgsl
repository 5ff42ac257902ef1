// residual_norm: r = x + branch, y = (r - mean) rstd weight + bias, over a row
// x, branch, r, y (rows, width); weight, bias (width); mean, rstd (rows)
// One workgroup per row; f32 sums, strided by thread, then a tree; each thread
// reads back only the r that it wrote. The variance is summed from differences.
// 1 when there is a bias
const BIAS: u32 = 0u;

struct Params { rows: u32, width: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> branch: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> r: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> mean: array<f32>;
@group(0) @binding(7) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

fn each_row(row: u32, local: u32) {
    let first = row * params.width;
    let n = f32(params.width);

    var sum = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        let v = x[first + i] + branch[first + i];
        r[first + i] = v;
        sum += v;
    }
    let m = reduce_sum(local, sum) / n;

    var squares = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        let d = r[first + i] - m;
        squares += d * d;
    }
    let s = 1.0 / sqrt(reduce_sum(local, squares) / n + params.eps);

    for (var i = local; i < params.width; i += WORKGROUP) {
        var v = (r[first + i] - m) * s * weight[i];
        if BIAS == 1u {
            v += bias[i];
        }
        y[first + i] = v;
    }
    if local == 0u {
        mean[row] = m;
        rstd[row] = s;
    }
}
