// causal_conv_cached, first: y_t = x_t + Σ_k w_k x_{t-k}, k < TAPS, channel by channel, for n new tokens of each
// stream from `position` on; those before them lie in `tail`, that of position p in row p mod (TAPS - 1)
// x, y (streams, n, width); w (TAPS, width); tail (streams, TAPS - 1, width); len = streams · n · width
// one thread per element, taps in order
const TAPS: u32 = 4u;

struct Params { len: u32, n: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> tail: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    let row = i / params.width;
    let channel = i % params.width;
    let added = row % params.n;
    let t = step.position + added;
    var sum = x[i];
    for (var k = 0u; k < min(TAPS, t + 1u); k++) {
        let weight = w[k * params.width + channel];
        if k <= added {
            sum += weight * x[(row - k) * params.width + channel];
        } else {
            let kept = row / params.n * (TAPS - 1u) + (t - k) % (TAPS - 1u);
            sum += weight * tail[kept * params.width + channel];
        }
    }
    y[i] = sum;
}
