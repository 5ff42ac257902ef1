// embedding_backward, second pass: dtable[v] = dtable[v] + Σ_{token_i = v} dy_i, in place
// tokens, firsts (tokens_len); dy (tokens_len, width); dtable: `rows` rows from `first` on, of width `width`
// One workgroup per token. The workgroup of a token's first occurrence adds all its occurrences, in order, so
// that no two workgroups write the same row; the others do nothing. It looks at WORKGROUP tokens at a time.
const WORKGROUP: u32 = 256u;
// of 32 bits
const WORDS: u32 = WORKGROUP / 32u;

struct Params { first: u32, rows: u32, tokens_len: u32, width: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> firsts: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// A bit for each token looked at: whether it is the one.
var<workgroup> found: array<atomic<u32>, WORDS>;

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
    if firsts[i] != 1.0 || token < params.first || token >= params.first + params.rows {
        return;
    }
    let row = (token - params.first) * params.width;
    for (var begin = i; begin < params.tokens_len; begin += WORKGROUP) {
        if local >= WORKGROUP - WORDS {
            atomicStore(&found[WORKGROUP - 1u - local], 0u);
        }
        workgroupBarrier();
        let j = begin + local;
        if j < params.tokens_len {
            if tokens[j] == token {
                atomicOr(&found[local / 32u], 1u << (local % 32u));
            }
        }
        workgroupBarrier();
        for (var c = local; c < params.width; c += WORKGROUP) {
            var sum = dtable[row + c];
            for (var word = 0u; word < WORDS; word++) {
                for (var bits = atomicLoad(&found[word]); bits != 0u; bits &= bits - 1u) {
                    sum += dy[(begin + 32u * word + firstTrailingBit(bits)) * params.width + c];
                }
            }
            dtable[row + c] = sum;
        }
        workgroupBarrier();
    }
}
