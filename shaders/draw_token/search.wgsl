// draw_token: the token at which Σ p first exceeds `random`, the most probable first; p = softmax(logits/T) over what
// top-k, then top-p, then min-p leave
// logits (known or more); tokens (window) move along by one, and the last is the new one; drawn gets it at `place`
// A logit that is no finite number: the new token is 0, and drawn gets 2³¹.
// Tokens rank by logit, of equals the lower id first. A place in this order is a key, lower for a greater logit, and an
// id; places are searched for by what comes before them.
// one workgroup; f32 sums: tokens i, i + WORKGROUP, … by thread i, then threads by halving
const WORKGROUP: u32 = 256u;

struct Params {
    known: u32,
    window: u32,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    id_bits: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> drawn: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> sums: array<f32, 3u * WORKGROUP>;

var<private> largest: f32;
// key and id of the first token that is left out
var<private> end: vec2<u32>;
// the least weight that stays
var<private> least: f32;

// Of three places, what comes before each: the number of tokens, or their weights.
fn before(local: u32, keys: vec3<u32>, ids: vec3<u32>, counts: bool) -> vec3<f32> {
    var sum = vec3(0.0);
    for (var i = local; i < params.known; i += WORKGROUP) {
        let rank = key(logits[i]);
        var weight = 1.0;
        if !counts {
            weight = exp((logits[i] - largest) / params.temperature);
            let stays = weight >= least && (rank < end.x || (rank == end.x && i < end.y));
            weight = select(0.0, weight, stays);
        }
        let is_before = (vec3(rank) < keys) | ((vec3(rank) == keys) & (vec3(i) < ids));
        sum += select(vec3(0.0), vec3(weight), is_before);
    }
    sums[local] = sum.x;
    sums[WORKGROUP + local] = sum.y;
    sums[2u * WORKGROUP + local] = sum.z;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        if local < half {
            sums[local] += sums[local + half];
            sums[local + WORKGROUP] += sums[local + WORKGROUP + half];
            sums[local + 2u * WORKGROUP] += sums[local + 2u * WORKGROUP + half];
        }
        workgroupBarrier();
    }
    sum = vec3(sums[0], sums[WORKGROUP], sums[2u * WORKGROUP]);
    workgroupBarrier();
    return sum;
}

// How many of three are within the limit.
fn within(sum: vec3<f32>, limit: f32) -> u32 {
    let count = select(vec3(0u), vec3(1u), sum <= vec3(limit));
    return count.x + count.y + count.z;
}

// The last place with no more than `limit` before it: a quarter of what is left is taken at a time.
fn find(local: u32, limit: f32, counts: bool) -> vec2<u32> {
    let quarters = vec3(1u, 2u, 3u);
    var place = vec2(0u);
    for (var bits = 32u; bits > 0u; bits -= 2u) {
        let sum = before(local, place.x + (quarters << vec3(bits - 2u)), vec3(0u), counts);
        place.x += within(sum, limit) << (bits - 2u);
    }
    for (var bits = params.id_bits; bits > 0u; bits -= 2u) {
        let sum = before(local, vec3(place.x), place.y + (quarters << vec3(bits - 2u)), counts);
        place.y += within(sum, limit) << (bits - 2u);
    }
    return place;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) local: u32) {
    var greatest = -3.4e38;
    var stray = 0.0;
    for (var i = local; i < params.known; i += WORKGROUP) {
        greatest = max(greatest, logits[i]);
        stray = select(1.0, stray, is_finite(logits[i]));
    }
    largest = reduce_max(local, greatest);
    stray = reduce_max(local, stray);
    end = vec2(0xffffffffu);
    if params.top_k < params.known {
        end = find(local, f32(params.top_k), true);
    }
    let all = vec3(0xffffffffu);
    if params.top_p < 1.0 {
        // The last with less than p before it; sums are not negative, so that the float below p is one bit pattern lower.
        let limit = params.top_p * before(local, all, all, false).x;
        let last = find(local, bitcast<f32>(bitcast<u32>(limit) - 1u), false);
        end = vec2(last.x, last.y + 1u);
    }
    least = params.min_p;
    let total = before(local, all, all, false).x;
    let limit = step.random * total;
    // Where rounding leaves nothing for the last, the first takes it.
    let token = find(local, select(0.0, limit, limit < total), false).y;
    if local == 0u {
        for (var i = 1u; i < params.window; i++) {
            tokens[i - 1u] = tokens[i];
        }
        tokens[params.window - 1u] = select(token, 0u, stray > 0.0);
        drawn[step.place] = select(token, 0x80000000u, stray > 0.0);
    }
}
