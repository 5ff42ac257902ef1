// cross_entropy with gradient: loss_i = w_i (logsumexp(x_i) - x_i[target_i])
//   and x_i ← w_i (softmax(x_i) - onehot(target_i))
// logits x (rows, width), overwritten; targets and weights w, from `first` on, a target of
// 0xffffffff leaving its row out; loss (rows)
// One workgroup per row; the largest logit is subtracted before exp. f32 sums, strided by thread, then a tree.
const WORKGROUP: u32 = 64u;
const IGNORE: u32 = 0xffffffffu;

struct Params { rows: u32, width: u32, first: u32 }

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
    let begin = row * params.width;
    let label = targets[params.first + row];
    if label == IGNORE {
        for (var j = local; j < params.width; j += WORKGROUP) {
            logits[begin + j] = 0.0;
        }
        if local == 0u {
            loss[row] = 0.0;
        }
        return;
    }
    let at_label = logits[begin + label];

    var largest = logits[begin];
    for (var j = local; j < params.width; j += WORKGROUP) {
        largest = max(largest, logits[begin + j]);
    }
    largest = reduce_max(local, largest);

    var sum = 0.0;
    for (var j = local; j < params.width; j += WORKGROUP) {
        sum += exp(logits[begin + j] - largest);
    }
    sum = reduce_sum(local, sum);

    let w = weights[params.first + row];
    for (var j = local; j < params.width; j += WORKGROUP) {
        let p = exp(logits[begin + j] - largest) / sum;
        logits[begin + j] = w * (p - select(0.0, 1.0, j == label));
    }
    if local == 0u {
        loss[row] = weights[params.first + row] * (log(sum) + largest - at_label);
    }
}
