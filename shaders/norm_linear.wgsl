// norm_linear: r = x + branch, y = f(norm(r) Wᵀ + bias) of one row: norm(r) = (r - mean) rstd · weight + norm_bias
//   with mean and rstd = 1/√(variance + eps) over the row; without CENTRED rstd = 1/√(mean(r²) + eps) and no mean
// x, branch, weight, norm_bias, r (k); w (rows, k), rows `first`.. of W; bias, y (all rows of W); f is GELU or nothing
// One workgroup of 256 threads computes COLS elements of y. First the row's statistics: f32 sums, strided by thread, then
// a tree. Then SLICES threads share each sum, thread s taking steps s, s + SLICES, … along k in order, in f32; their
// partial sums are added as a tree. The workgroup of the first rows also stores r.
const WORKGROUP: u32 = 256u;
const COLS: u32 = 8u;
const SLICES: u32 = WORKGROUP / COLS;
// 1 when the mean is subtracted
const CENTRED: u32 = 1u;
// 1 when there is a branch, a bias of the norm, a bias of the product
const BRANCH: u32 = 0u;
const NORM_BIAS: u32 = 0u;
const BIAS: u32 = 0u;
// 1 when f is GELU
const GELU: u32 = 0u;

struct Params { rows: u32, k: u32, first: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> branch: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> norm_bias: array<f32>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> r: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

// Sum s of column q at q * SLICES + s, where thread q * SLICES + s computes it.
var<workgroup> sums: array<f32, WORKGROUP>;

fn stream(l: u32) -> f32 {
    if BRANCH == 1u {
        return x[l] + branch[l];
    }
    return x[l];
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    let n = f32(params.k);
    var mean = 0.0;
    if CENTRED == 1u {
        var sum = 0.0;
        for (var l = local; l < params.k; l += WORKGROUP) {
            sum += stream(l);
        }
        mean = reduce_sum(local, sum) / n;
    }
    var squares = 0.0;
    for (var l = local; l < params.k; l += WORKGROUP) {
        let v = stream(l);
        squares += (v - mean) * (v - mean);
        if params.first + number == 0u {
            r[l] = v;
        }
    }
    let rstd = 1.0 / sqrt(reduce_sum(local, squares) / n + params.eps);

    // Neighbouring threads read neighbouring elements of w.
    let slice = local % SLICES;
    let col = local / SLICES;
    let j = number * COLS + col;
    var sum = 0.0;
    if j < params.rows {
        for (var l = slice; l < params.k; l += SLICES) {
            var v = (stream(l) - mean) * rstd * weight[l];
            if NORM_BIAS == 1u {
                v += norm_bias[l];
            }
            sum += v * w[j * params.k + l];
        }
    }
    sums[local] = sum;
    for (var reach = SLICES / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if slice < reach {
            sums[local] += sums[local + reach];
        }
    }
    if slice > 0u || j >= params.rows {
        return;
    }
    sum = sums[local];
    if BIAS == 1u {
        sum += bias[params.first + j];
    }
    if GELU == 1u {
        sum = value(sum);
    }
    y[params.first + j] = sum;
}
