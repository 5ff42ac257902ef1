// sgd without momentum: p = p - lr (g + decay p), with g = gradient · min(1, clip / grad_norm)
// gradient, p (len); grad_norm (1); one thread per element

struct Params { len: u32, weight_decay: f32, clip: f32 }

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> grad_norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> p: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    var g = gradient[i];
    if params.clip > 0.0 && grad_norm[0] > params.clip {
        g *= params.clip / grad_norm[0];
    }
    p[i] = p[i] - step.learning_rate * (g + params.weight_decay * p[i]);
}
