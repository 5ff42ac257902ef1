// logistic_loss with gradient: loss = w (softplus(x) - y x), softplus(x) = ln(1 + exp(x)), and x ← w (σ(x) - y)
// logits x, overwritten, targets y, weights w, loss (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    let x = logits[i];
    loss[i] = weights[i] * (softplus(x) - targets[i] * x);
    logits[i] = weights[i] * (sigmoid(x) - targets[i]);
}
