// adamw: m = β₁ m + (1 - β₁) g, v = β₂ v + (1 - β₂) g², p = p - lr (m̂ / (√v̂ + eps) + decay p)
//   with g = gradient · min(1, clip / grad_norm), m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)
// gradient, p, m, v (len); grad_norm (1); one thread per element

struct Params { len: u32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, clip: f32 }

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> grad_norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> p: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn each_element(i: u32) {
    var g = gradient[i];
    if params.clip > 0.0 && grad_norm[0] > params.clip {
        g *= params.clip / grad_norm[0];
    }
    let mean = params.beta1 * m[i] + (1.0 - params.beta1) * g;
    let square = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
    m[i] = mean;
    v[i] = square;
    let update = (mean / step.correction1) / (sqrt(square / step.correction2) + params.eps);
    p[i] = p[i] - step.learning_rate * (update + params.weight_decay * p[i]);
}
