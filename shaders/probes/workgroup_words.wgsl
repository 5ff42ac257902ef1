// workgroup_words: y = Σ of what a thread reads from workgroup memory, word by word
// x (4096) is what that memory holds; y (threads)
// In each of `rounds` rounds a thread reads 16 words; neighbouring threads read words that are STRIDE apart. The words
// of a round are at fixed distances from its first, which moves on by one: nothing but reads and additions is left.
const WORKGROUP: u32 = 256u;
const STRIDE: u32 = 1u;

struct Params { threads: u32, rounds: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32, 4096>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> words: array<f32, 4096>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    for (var i = local; i < 4096u; i += WORKGROUP) {
        words[i] = x[i];
    }
    workgroupBarrier();

    // At most 2047 + 127 + 15 · 128, which is below 4096.
    let first = (local * STRIDE) & 2047u;
    var sum = vec4(0.0);
    for (var round = 0u; round < params.rounds; round++) {
        let at = first + (round & 127u);
        sum += vec4(words[at], words[at + 128u], words[at + 256u], words[at + 384u]);
        sum += vec4(words[at + 512u], words[at + 640u], words[at + 768u], words[at + 896u]);
        sum += vec4(words[at + 1024u], words[at + 1152u], words[at + 1280u], words[at + 1408u]);
        sum += vec4(words[at + 1536u], words[at + 1664u], words[at + 1792u], words[at + 1920u]);
    }
    let thread = (group.x + group.y * groups.x) * WORKGROUP + local;
    if thread < params.threads {
        y[thread] = sum.x + sum.y + sum.z + sum.w;
    }
}
