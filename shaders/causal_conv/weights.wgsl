// causal_conv_weights: dw_k = Σ_t dy_t x_{t-k}, channel by channel, over tokens of the same sequence
// x, dy (rows, width) with rows = items · time; segments (rows); dw (taps, width), added to from the second part on
// Workgroup (i, k): one tap of 16 neighbouring channels with 16 threads each, every thread taking every 16th row.

// 1 when segments tell apart the sequences packed into a row
const SEGMENTS: u32 = 0u;

struct Params { rows: u32, time: u32, width: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> segments: array<u32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> scratch: array<array<f32, 16>, 16>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let channel = group.x * 16u + local.x;
    let k = group.y;
    var sum = 0.0;
    if channel < params.width {
        for (var row = local.y; row < params.rows; row += 16u) {
            if row % params.time < k {
                continue;
            }
            if SEGMENTS == 1u {
                if segments[row - k] != segments[row] {
                    continue;
                }
            }
            sum += dy[row * params.width + channel] * x[(row - k) * params.width + channel];
        }
    }
    scratch[local.y][local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && channel < params.width {
        for (var i = 1u; i < 16u; i++) {
            sum += scratch[i][local.x];
        }
        if params.accumulate == 1u {
            sum += dw[k * params.width + channel];
        }
        dw[k * params.width + channel] = sum;
    }
}
