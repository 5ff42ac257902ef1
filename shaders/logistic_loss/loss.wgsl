// logistic_loss, loss alone: loss = w (softplus(x) - y x), softplus(x) = ln(1 + exp(x))
// logits x, targets y, weights w, loss (len); one thread per element
const WORKGROUP: u32 = 256u;

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        loss[i] = weights[i] * (softplus(logits[i]) - targets[i] * logits[i]);
    }
}
