// rms_norm: y = x rstd weight, rstd = 1/√(mean(x²) + eps) over a row
// x, y (rows, width); weight (width); rstd (rows)
// One workgroup per row; f32 sums, strided by thread, then a tree.

struct Params { rows: u32, width: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_row(row: u32, local: u32) {
    let first = row * params.width;

    var squares = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        squares += x[first + i] * x[first + i];
    }
    let r = 1.0 / sqrt(reduce_sum(local, squares) / f32(params.width) + params.eps);

    for (var i = local; i < params.width; i += WORKGROUP) {
        y[first + i] = x[first + i] * r * weight[i];
    }
    if local == 0u {
        rstd[row] = r;
    }
}
