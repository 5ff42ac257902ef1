// attention_backward for keys and values: dv_s = Σ_t m_ts p_ts dout_t, dk_s = Σ_t ds_ts q_t,
// ds_ts = p_ts (m_ts dout_t·v_s - delta_t)/√D, p_ts = exp(q_t·k_s/√D - lse_t), m the mask of dropout
// qkv, dqkv (batch, time, n_head + 2 n_kv_head, WIDTH), dout (batch, time, n_head, WIDTH), lse, delta (batch, n_head,
// time) n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from a
// score. A query sees `window` keys, itself the last, or all. One thread per key, which meets the queries that
// see it head by head and in order; f32 sums in that order
const WORKGROUP: u32 = 64u;
const WIDTH: u32 = 32u;
const DROPOUT: u32 = 0u;
const ALIBI: u32 = 0u;
const SEGMENTS: u32 = 0u;

// first: the number, over all batches, of head 0 here; heads = batch · n_kv_head
struct Params {
    first: u32, heads: u32, n_head: u32, n_kv_head: u32, time: u32, scale: f32, causal: u32, window: u32,
    salt: u32, threshold: u32, keep_scale: f32, alibi_heads: u32, alibi_step: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(5) var<storage, read> segments: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

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
    let s = number % blocks * WORKGROUP + local;
    if head >= params.heads || s >= params.time {
        return;
    }
    let b = head / params.n_kv_head;
    let members = params.n_head / params.n_kv_head;
    let row = (params.n_head + 2u * params.n_kv_head) * WIDTH;
    let start = b * params.time * row;
    let keys = start + (params.n_head + head % params.n_kv_head) * WIDTH;
    let values = keys + params.n_kv_head * WIDTH;

    var k: array<f32, WIDTH>;
    var v: array<f32, WIDTH>;
    var dk: array<f32, WIDTH>;
    var dv: array<f32, WIDTH>;
    for (var d = 0u; d < WIDTH; d++) {
        k[d] = qkv[keys + s * row + d];
        v[d] = qkv[values + s * row + d];
        dk[d] = 0.0;
        dv[d] = 0.0;
    }
    for (var member = 0u; member < members; member++) {
        let h = head % params.n_kv_head * members + member;
        let at = b * params.n_head + h;
        let slope = alibi_slope(h);
        var t = 0u;
        if params.causal == 1u {
            t = s;
        }
        let end = min(params.time, s + params.window);
        for (; t < end; t++) {
            if SEGMENTS == 1u {
                if !same_segment(b, t, s) {
                    continue;
                }
            }
            let q = start + t * row + h * WIDTH;
            let g = ((b * params.time + t) * params.n_head + h) * WIDTH;
            var score = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < WIDTH; d++) {
                score += qkv[q + d] * k[d];
                dp += dout[g + d] * v[d];
            }
            score *= params.scale;
            if ALIBI == 1u {
                score -= penalty(slope, t, s);
            }
            let p = exp(score - lse[at * params.time + t]);
            let m = mask(at, t, s);
            let ds = p * (dp * m - delta[at * params.time + t]) * params.scale;
            for (var d = 0u; d < WIDTH; d++) {
                dv[d] += p * m * dout[g + d];
                dk[d] += ds * qkv[q + d];
            }
        }
    }
    for (var d = 0u; d < WIDTH; d++) {
        dqkv[keys + s * row + d] = dk[d];
        dqkv[values + s * row + d] = dv[d];
    }
}
