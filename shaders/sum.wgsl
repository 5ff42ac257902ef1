// sum: total = Σ x, or total + Σ x
// x (len), total (1); one workgroup, each thread adds every WORKGROUP-th element, then a tree
const WORKGROUP: u32 = 256u;

struct Params { len: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> total: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.len; i += WORKGROUP) {
        sum += x[i];
    }
    sum = reduce_sum(local, sum);
    if local == 0u {
        if params.accumulate == 1u {
            sum += total[0];
        }
        total[0] = sum;
    }
}
