// policy_loss: loss = w (-min(r a, clamp(r, 1 - CLIP, 1 + CLIP) a) + kl (exp(d) - d - 1)), r = exp(old - nll),
//   d = nll - reference, and its derivative by nll
// nll, old, advantages a, weights w, reference, loss, dnll (len); one thread per element
// Without a reference, KL is 0 and `reference` is bound to nll.
const KL: u32 = 0u;

struct Params { len: u32, clip: f32, kl: f32 }

@group(0) @binding(0) var<storage, read> nll: array<f32>;
@group(0) @binding(1) var<storage, read> old: array<f32>;
@group(0) @binding(2) var<storage, read> advantages: array<f32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> reference: array<f32>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> dnll: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

fn each_element(i: u32) {
    let a = advantages[i];
    let gain = exp(old[i] - nll[i]) * a;
    let clipped = clamp(exp(old[i] - nll[i]), 1.0 - params.clip, 1.0 + params.clip) * a;
    var value = -min(gain, clipped);
    var slope = select(0.0, gain, gain <= clipped);
    if KL == 1u {
        let d = nll[i] - reference[i];
        value += params.kl * (exp(d) - d - 1.0);
        slope += params.kl * (exp(d) - 1.0);
    }
    loss[i] = weights[i] * value;
    dnll[i] = weights[i] * slope;
}
