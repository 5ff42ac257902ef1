// causal_conv: y_t = x_t + Σ_k w_k x_{t-k}, and with TRANSPOSED y_t = x_t + Σ_k w_k x_{t+k}, k < TAPS, channel by
// channel, over tokens of the same sequence
// x, y (items, time, width); w (TAPS, width); segments (items, time); len = items · time · width; one thread per
// element, taps in order
const TAPS: u32 = 4u;
const TRANSPOSED: u32 = 0u;
// 1 when segments tell apart the sequences packed into a row
const SEGMENTS: u32 = 0u;

struct Params { len: u32, time: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> segments: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    let row = i / params.width;
    let channel = i % params.width;
    let t = row % params.time;
    let room = select(t, params.time - 1u - t, TRANSPOSED == 1u);
    var sum = x[i];
    for (var k = 0u; k < min(TAPS, room + 1u); k++) {
        let other = select(row - k, row + k, TRANSPOSED == 1u);
        if SEGMENTS == 1u {
            if segments[other] != segments[row] {
                continue;
            }
        }
        sum += w[k * params.width + channel] * x[other * params.width + channel];
    }
    y[i] = sum;
}
