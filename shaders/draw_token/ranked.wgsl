// draw_token for few tokens: as search.wgsl, with the place of every token in the order found by comparing it with all
// others
// one workgroup for at most MOST tokens; f32 sums in the order of ids
const WORKGROUP: u32 = 256u;
const MOST: u32 = 512u;
// tokens of one thread
const SHARE: u32 = (MOST + WORKGROUP - 1u) / WORKGROUP;

struct Params {
    known: u32,
    window: u32,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> drawn: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// logits, then weights: of those that are left out 0
var<workgroup> weights: array<f32, MOST>;
var<workgroup> keys: array<u32, MOST>;
// one more than the place of the token that is drawn
var<workgroup> last: atomic<u32>;

fn sum_of_weights() -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < params.known; i++) {
        sum += weights[i];
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) local: u32) {
    if local == 0u {
        atomicStore(&last, 0u);
    }
    for (var i = local; i < params.known; i += WORKGROUP) {
        weights[i] = logits[i];
        keys[i] = key(logits[i]);
    }
    workgroupBarrier();
    var largest = -3.4e38;
    var is_stray = false;
    for (var i = 0u; i < params.known; i++) {
        largest = max(largest, weights[i]);
        is_stray = is_stray || !is_finite(weights[i]);
    }
    workgroupBarrier();
    for (var i = local; i < params.known; i += WORKGROUP) {
        weights[i] = exp((weights[i] - largest) / params.temperature);
    }
    workgroupBarrier();
    // Of each own token, how many come before it and what they weigh.
    var places: array<u32, SHARE>;
    var masses: array<f32, SHARE>;
    for (var own = 0u; own < SHARE; own++) {
        let i = min(local + own * WORKGROUP, params.known - 1u);
        for (var j = 0u; j < params.known; j++) {
            let is_before = keys[j] < keys[i] || (keys[j] == keys[i] && j < i);
            places[own] += select(0u, 1u, is_before);
            masses[own] += select(0.0, weights[j], is_before);
        }
    }
    workgroupBarrier();
    for (var own = 0u; own < SHARE; own++) {
        let i = local + own * WORKGROUP;
        if i < params.known && places[own] >= params.top_k {
            weights[i] = 0.0;
        }
    }
    workgroupBarrier();
    let enough = params.top_p * sum_of_weights();
    workgroupBarrier();
    for (var own = 0u; own < SHARE; own++) {
        let i = local + own * WORKGROUP;
        let is_enough = params.top_p < 1.0 && masses[own] >= enough;
        if i < params.known && (is_enough || weights[i] < params.min_p) {
            weights[i] = 0.0;
        }
    }
    workgroupBarrier();
    let limit = step.random * sum_of_weights();
    for (var own = 0u; own < SHARE; own++) {
        let i = local + own * WORKGROUP;
        if i < params.known && weights[i] > 0.0 && masses[own] <= limit {
            atomicMax(&last, places[own] + 1u);
        }
    }
    workgroupBarrier();
    for (var own = 0u; own < SHARE; own++) {
        let i = local + own * WORKGROUP;
        // Where a logit is no finite number, the thread of the first token says so.
        let is_drawn = select(places[own] + 1u == atomicLoad(&last), i == 0u, is_stray);
        if i < params.known && is_drawn {
            for (var at = 1u; at < params.window; at++) {
                tokens[at - 1u] = tokens[at];
            }
            tokens[params.window - 1u] = select(i, 0u, is_stray);
            drawn[step.place] = select(i, 0x80000000u, is_stray);
        }
    }
}
