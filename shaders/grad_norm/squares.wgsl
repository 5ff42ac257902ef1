// squares: partials[first + block] = Σ_block g²
// gradient g (len); partials, in place
// One workgroup per block of BLOCK elements; f32 sums, strided by thread, then a tree.
const WORKGROUP: u32 = 64u;
const BLOCK: u32 = 4096u;

struct Params { len: u32, first: u32 }

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = group.x + group.y * groups.x;
    if block * BLOCK >= params.len {
        return;
    }
    let end = min((block + 1u) * BLOCK, params.len);
    var sum = 0.0;
    for (var i = block * BLOCK + local; i < end; i += WORKGROUP) {
        sum += gradient[i] * gradient[i];
    }
    sum = reduce_sum(local, sum);
    if local == 0u {
        partials[params.first + block] = sum;
    }
}
