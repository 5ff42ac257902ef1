// sgd with momentum μ: v = μ v + g, p = p - lr (v + decay p), or Nesterov's p = p - lr (g + μ v + decay p)
//   with g = gradient · min(1, clip / grad_norm)
// gradient, p, v (len); grad_norm (1); one thread per element
// 1 for Nesterov's step
const NESTEROV: u32 = 0u;

struct Params { len: u32, momentum: f32, weight_decay: f32, clip: f32 }

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> grad_norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> p: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    var g = gradient[i];
    if params.clip > 0.0 && grad_norm[0] > params.clip {
        g *= params.clip / grad_norm[0];
    }
    let velocity = params.momentum * v[i] + g;
    v[i] = velocity;
    var direction = velocity;
    if NESTEROV == 1u {
        direction = g + params.momentum * velocity;
    }
    p[i] = p[i] - step.learning_rate * (direction + params.weight_decay * p[i]);
}
