// attention_backward for queries: dq_t = Σ_s ds_ts k_s, ds_ts = p_ts (m_ts dout_t·v_s - delta_t)/√D,
// p_ts = exp(q_t·k_s/√D - lse_t), m the mask of dropout
// qkv, dqkv (batch, time, 3, n_head, WIDTH), dout (batch, time, n_head, WIDTH), lse, delta (batch, n_head, time)
// one thread per query, which meets its keys in order; f32 sums in that order
const WORKGROUP: u32 = 64u;
const WIDTH: u32 = 32u;
const CAUSAL: u32 = 1u;
const DROPOUT: u32 = 0u;

// first: the number, over all batches, of head 0 here; heads = batch · n_head
struct Params {
    first: u32, heads: u32, n_head: u32, time: u32, scale: f32,
    salt: u32, threshold: u32, keep_scale: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
    let row = 3u * params.n_head * WIDTH;
    let start = head / params.n_head * params.time * row + head % params.n_head * WIDTH;
    let keys = start + params.n_head * WIDTH;
    let values = keys + params.n_head * WIDTH;
    let upstream = ((head / params.n_head * params.time + t) * params.n_head + head % params.n_head) * WIDTH;

    var q: array<f32, WIDTH>;
    var g: array<f32, WIDTH>;
    var dq: array<f32, WIDTH>;
    for (var d = 0u; d < WIDTH; d++) {
        q[d] = qkv[start + t * row + d];
        g[d] = dout[upstream + d];
        dq[d] = 0.0;
    }
    let mean = delta[head * params.time + t];
    let norm = lse[head * params.time + t];
    var seen = params.time;
    if CAUSAL == 1u {
        seen = t + 1u;
    }
    for (var s = 0u; s < seen; s++) {
        var score = 0.0;
        var dp = 0.0;
        for (var d = 0u; d < WIDTH; d++) {
            score += q[d] * qkv[keys + s * row + d];
            dp += g[d] * qkv[values + s * row + d];
        }
        let p = exp(score * params.scale - norm);
        let ds = p * (dp * mask(head, t, s) - mean) * params.scale;
        for (var d = 0u; d < WIDTH; d++) {
            dq[d] += ds * qkv[keys + s * row + d];
        }
    }
    for (var d = 0u; d < WIDTH; d++) {
        dqkv[start + t * row + d] = dq[d];
    }
}
