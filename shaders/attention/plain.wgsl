// attention: out_t = Σ_s p_ts v_s, p_ts = exp(q_t·k_s/√D - lse_t), lse_t = log Σ_s exp(q_t·k_s/√D), per head
// qkv (batch, time, n_head + 2 n_kv_head, WIDTH), out (batch, time, n_head, WIDTH), lse (batch, n_head, time)
// n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from a score.
// A query sees `window` keys, itself the last, or all.
// One thread per query, which meets its keys in order. The softmax is online: whenever a larger score comes,
// what was summed so far is scaled down (Milakov & Gimelshein 2018). All sums are f32, in the order of keys.
const WORKGROUP: u32 = 64u;
const WIDTH: u32 = 32u;
const DROPOUT: u32 = 0u;
const ALIBI: u32 = 0u;
const SEGMENTS: u32 = 0u;

// first: the number, over all batches, of head 0 here; heads = batch · n_head
struct Params {
    first: u32, heads: u32, n_head: u32, n_kv_head: u32, time: u32, scale: f32, causal: u32, window: u32,
    salt: u32, threshold: u32, keep_scale: f32, alibi_heads: u32, alibi_step: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;
@group(0) @binding(3) var<storage, read> segments: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

// 0, or 1/(1 - p), for query t and key s of head `head`
fn mask(head: u32, t: u32, s: u32) -> f32 {
    if DROPOUT == 0u {
        return 1.0;
    }
    let index = ((params.first + head) * params.time + t) * params.time + s;
    let key = mask_key(step.seed, params.salt);
    return select(0.0, params.keep_scale, keep(key, index, params.threshold));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // A workgroup stays within one head.
    let blocks = (params.time + WORKGROUP - 1u) / WORKGROUP;
    let number = group.x + group.y * groups.x;
    let head = number / blocks;
    let t = number % blocks * WORKGROUP + local;
    if head >= params.heads || t >= params.time {
        return;
    }
    let b = head / params.n_head;
    let h = head % params.n_head;
    let row = (params.n_head + 2u * params.n_kv_head) * WIDTH;
    let start = b * params.time * row + h * WIDTH;
    // The heads of a group share a key and a value.
    let kv_head = params.n_head + h / (params.n_head / params.n_kv_head);
    let keys = b * params.time * row + kv_head * WIDTH;
    let values = keys + params.n_kv_head * WIDTH;
    let slope = alibi_slope(h);

    var q: array<f32, WIDTH>;
    var sum: array<f32, WIDTH>;
    for (var d = 0u; d < WIDTH; d++) {
        q[d] = qkv[start + t * row + d];
        sum[d] = 0.0;
    }
    var largest = -3e38;
    var total = 0.0;
    var seen = params.time;
    if params.causal == 1u {
        seen = t + 1u;
    }
    var s = seen - min(seen, params.window);
    for (; s < seen; s++) {
        if SEGMENTS == 1u {
            if !same_segment(b, t, s) {
                continue;
            }
        }
        var score = 0.0;
        for (var d = 0u; d < WIDTH; d++) {
            score += q[d] * qkv[keys + s * row + d];
        }
        score *= params.scale;
        if ALIBI == 1u {
            score -= penalty(slope, t, s);
        }
        if score > largest {
            let shrink = exp(largest - score);
            total *= shrink;
            for (var d = 0u; d < WIDTH; d++) {
                sum[d] *= shrink;
            }
            largest = score;
        }
        let p = exp(score - largest);
        total += p;
        let kept = p * mask(head, t, s);
        for (var d = 0u; d < WIDTH; d++) {
            sum[d] += kept * qkv[values + s * row + d];
        }
    }
    let at = ((b * params.time + t) * params.n_head + h) * WIDTH;
    for (var d = 0u; d < WIDTH; d++) {
        out[at + d] = sum[d] / total;
    }
    lse[head * params.time + t] = largest + log(total);
}
