// squared_loss: loss = w ½ max((x - y)², (c - y)²), c = old + clamp(x - old, -clip, clip), and its derivative by x
// values x, targets y, weights w, old, loss, dvalues (len); one thread per element
// Without old values, CLIP is 0, `old` is bound to the values, and the loss is w ½ (x - y)².
const CLIP: u32 = 0u;

struct Params { len: u32, clip: f32 }

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> old: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dvalues: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

fn each_element(i: u32) {
    let off = values[i] - targets[i];
    var square = off * off;
    var slope = off;
    if CLIP == 1u {
        let held = old[i] + clamp(values[i] - old[i], -params.clip, params.clip) - targets[i];
        if held * held > square {
            square = held * held;
            slope = 0.0;
        }
    }
    loss[i] = weights[i] * 0.5 * square;
    dvalues[i] = weights[i] * slope;
}
