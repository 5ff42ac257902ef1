// cross_entropy with gradient: loss_i = w_i (logsumexp(x_i) - x_i[target_i])
//   and x_i ← w_i (softmax(x_i) - onehot(target_i))
// logits x (rows, width), overwritten; targets (rows), 0xffffffff to leave a row out; weights w, loss (rows)
// One workgroup per row; the largest logit is subtracted before exp. f32 sums, strided by thread, then a tree.
const WORKGROUP: u32 = 64u;
const IGNORE: u32 = 0xffffffffu;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.width;
    let label = targets[row];
    if label == IGNORE {
        for (var j = local; j < params.width; j += WORKGROUP) {
            logits[first + j] = 0.0;
        }
        if local == 0u {
            loss[row] = 0.0;
        }
        return;
    }
    let at_label = logits[first + label];

    var largest = logits[first];
    for (var j = local; j < params.width; j += WORKGROUP) {
        largest = max(largest, logits[first + j]);
    }
    largest = reduce_max(local, largest);

    var sum = 0.0;
    for (var j = local; j < params.width; j += WORKGROUP) {
        sum += exp(logits[first + j] - largest);
    }
    sum = reduce_sum(local, sum);

    let w = weights[row];
    for (var j = local; j < params.width; j += WORKGROUP) {
        let p = exp(logits[first + j] - largest) / sum;
        logits[first + j] = w * (p - select(0.0, 1.0, j == label));
    }
    if local == 0u {
        loss[row] = weights[row] * (log(sum) + largest - at_label);
    }
}
