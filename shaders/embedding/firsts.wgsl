// embedding_backward, first pass: first_i = 1 where no token before i is the same, else 0
// tokens, first (tokens_len); one workgroup per token
const WORKGROUP: u32 = 256u;

struct Params { tokens_len: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read_write> first: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group.x + group.y * groups.x;
    if i >= params.tokens_len {
        return;
    }
    let token = tokens[i];
    var earlier = 0.0;
    for (var j = local; j < i; j += WORKGROUP) {
        earlier = max(earlier, select(0.0, 1.0, tokens[j] == token));
    }
    earlier = reduce_max(local, earlier);
    if local == 0u {
        first[i] = 1.0 - earlier;
    }
}
