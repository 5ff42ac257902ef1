// layer_norm_weights, second pass: total = Σ_blocks partials[2 block + part], or total + that
// partials (2 blocks, width): for each block a row for the weight (part 0) and one for the bias (part 1);
// total (width): dweight or dbias
// One thread per column, blocks in order.
const WORKGROUP: u32 = 64u;

struct Params { blocks: u32, width: u32, part: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> total: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let column = group.x * WORKGROUP + local;
    if column >= params.width {
        return;
    }
    var sum = 0.0;
    for (var block = 0u; block < params.blocks; block++) {
        sum += partials[(2u * block + params.part) * params.width + column];
    }
    if params.accumulate == 1u {
        sum += total[column];
    }
    total[column] = sum;
}
