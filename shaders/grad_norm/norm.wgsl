// grad_norm: norm = √Σ partials
// partials (len), norm (1); one workgroup, each thread adds every WORKGROUP-th sum, then a tree
const WORKGROUP: u32 = 256u;

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.len; i += WORKGROUP) {
        sum += partials[i];
    }
    sum = reduce_sum(local, sum);
    if local == 0u {
        norm[0] = sqrt(sum);
    }
}
