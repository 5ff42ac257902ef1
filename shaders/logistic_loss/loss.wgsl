// logistic_loss, loss alone: loss = w (softplus(x) - y x), softplus(x) = ln(1 + exp(x))
// logits x, targets y, weights w, loss (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    loss[i] = weights[i] * (softplus(logits[i]) - targets[i] * logits[i]);
}
