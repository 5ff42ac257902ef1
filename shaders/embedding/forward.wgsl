// embedding: y_bt = table[token_bt] + positions[step.position + t]
// tokens (batch, time); table: `rows` rows from `first` on, of width `width`; positions (time or more, width);
// y (batch, time, width)
// One workgroup per token. A token outside this range of rows is left to another dispatch.
const WORKGROUP: u32 = 64u;
// 1 when there are positions
const POSITIONS: u32 = 0u;

struct Params { first: u32, rows: u32, tokens_len: u32, time: u32, width: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group.x + group.y * groups.x;
    if i >= params.tokens_len || tokens[i] < params.first || tokens[i] >= params.first + params.rows {
        return;
    }
    let row = (tokens[i] - params.first) * params.width;
    let position = (step.position + i % params.time) * params.width;
    for (var c = local; c < params.width; c += WORKGROUP) {
        var v = table[row + c];
        if POSITIONS == 1u {
            v += positions[position + c];
        }
        y[i * params.width + c] = v;
    }
}
