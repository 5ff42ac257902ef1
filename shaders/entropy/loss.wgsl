// entropy: h_i = w_i (ln S_i - Σ_j e_ij (x_ij - max_i) / S_i), e_ij = exp(x_ij - max_i), S_i = Σ_j e_ij
// logits x (rows, width); weights w from `first` on; h (rows)
// One workgroup per row. f32 sums, strided by thread, then a tree.

struct Params { rows: u32, width: u32, first: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_row(row: u32, local: u32) {
    let begin = row * params.width;

    var largest = logits[begin];
    for (var j = local; j < params.width; j += WORKGROUP) {
        largest = max(largest, logits[begin + j]);
    }
    largest = reduce_max(local, largest);

    var sum = 0.0;
    var weighted = 0.0;
    for (var j = local; j < params.width; j += WORKGROUP) {
        let x = logits[begin + j] - largest;
        sum += exp(x);
        weighted += exp(x) * x;
    }
    sum = reduce_sum(local, sum);
    weighted = reduce_sum(local, weighted);
    if local == 0u {
        entropy[row] = weights[params.first + row] * (log(sum) - weighted / sum);
    }
}
