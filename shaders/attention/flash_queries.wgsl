// attention_backward for queries: dq_t = Σ_s ds_ts k_s, ds_ts = p_ts (m_ts dout_t·v_s - delta_t)/√D,
// p_ts = exp(q_t·k_s/√D - lse_t), m the mask of dropout; delta_t = Σ_d dout_td · out_td, which is kept for the keys
// qkv, dqkv (batch, time, n_head + 2 n_kv_head, width), out, dout (batch, time, n_head, width), lse, delta (batch,
// n_head, time) n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from
// a score. WINDOWED, a query sees `window` keys, itself the last. One workgroup of 128 threads per head and 64
// queries; keys come in tiles of 32, channels 32 at a time. f32 sums, channel by channel and key by key.
const DROPOUT: u32 = 0u;
const ALIBI: u32 = 0u;
const SEGMENTS: u32 = 0u;
const WINDOWED: u32 = 0u;
const ROWS: u32 = 64u;
// tiles of 32 channels
const PARTS: u32 = 1u;

// first: the number, over all batches, of head 0 here; heads = batch · n_head
struct Params {
    first: u32, heads: u32, n_head: u32, n_kv_head: u32, time: u32, scale: f32, width: u32, causal: u32, window: u32,
    salt: u32, threshold: u32, keep_scale: f32, alibi_heads: u32, alibi_step: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(6) var<storage, read> segments: array<u32>;
@group(0) @binding(7) var<uniform> params: Params;

// delta of this workgroup's queries
var<workgroup> deltas: array<f32, ROWS>;

// 0, or 1/(1 - p), for query t and key s of head `head`
fn mask(head: u32, t: u32, s: u32) -> f32 {
    let index = ((params.first + head) * params.time + t) * params.time + s;
    let key = mask_key(step.seed, params.salt);
    return select(0.0, params.keep_scale, keep(key, index, params.threshold));
}

// Channel d of column `column`, in heads, of row t of item b; 0 outside, where it adds nothing to a product.
fn load(b: u32, column: u32, t: u32, d: u32) -> f32 {
    if t >= params.time || d >= params.width {
        return 0.0;
    }
    let row = b * params.time + t;
    return qkv[(row * (params.n_head + 2u * params.n_kv_head) + column) * params.width + d];
}

// Channel d of row t of dout of head h of item b; 0 outside.
fn load_dout(b: u32, h: u32, t: u32, d: u32) -> f32 {
    if t >= params.time || d >= params.width {
        return 0.0;
    }
    return dout[((b * params.time + t) * params.n_head + h) * params.width + d];
}

// Terms of `left`: 32 channels of 64 queries.
fn stage_queries(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * ROW_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        left[left_slot(i % TILE, i / TILE)] = vec4(
            load(b, h, t, d),
            load(b, h, t + 1u, d),
            load(b, h, t + 2u, d),
            load(b, h, t + 3u, d),
        );
    }
}

// Terms of `left`: 32 channels of 64 rows of dout.
fn stage_dout(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * ROW_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        left[left_slot(i % TILE, i / TILE)] = vec4(
            load_dout(b, h, t, d),
            load_dout(b, h, t + 1u, d),
            load_dout(b, h, t + 2u, d),
            load_dout(b, h, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 channels of 32 keys or values.
fn stage_keys(local: u32, b: u32, column: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        right[right_slot(i % TILE, i / TILE)] = vec4(
            load(b, column, t, d),
            load(b, column, t + 1u, d),
            load(b, column, t + 2u, d),
            load(b, column, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 keys, each with 32 of its channels.
fn stage_key_terms(local: u32, b: u32, key: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + i / COL_QUADS;
        let d = channel + 4u * (i % COL_QUADS);
        right[right_slot(i / COL_QUADS, i % COL_QUADS)] = vec4(
            load(b, key, t, d),
            load(b, key, t, d + 1u),
            load(b, key, t, d + 2u),
            load(b, key, t, d + 3u),
        );
    }
}

// The sums of `deltas`, one by each of the first threads.
fn sum_deltas(local: u32, head: u32, b: u32, h: u32, first: u32) {
    let t = first + local;
    if local < ROWS && t < params.time {
        let start = ((b * params.time + t) * params.n_head + h) * params.width;
        var sum = 0.0;
        for (var d = 0u; d < params.width; d++) {
            sum += dout[start + d] * out[start + d];
        }
        deltas[local] = sum;
        delta[head * params.time + t] = sum;
    }
}

// √D ds of query t against keys s..s + 3, from q·k and dout·v; 0 where it does not see them.
fn ds_of(head: u32, slope: f32, first: u32, t: u32, s: u32, products: vec4<f32>, dp: vec4<f32>) -> vec4<f32> {
    if t >= params.time {
        return vec4(0.0);
    }
    var end = params.time;
    if params.causal == 1u {
        end = t + 1u;
    }
    let at = head * params.time + t;
    var g = dp;
    if DROPOUT == 1u {
        g *= vec4(mask(head, t, s), mask(head, t, s + 1u), mask(head, t, s + 2u), mask(head, t, s + 3u));
    }
    var scores = products * params.scale;
    if ALIBI == 1u {
        scores -= penalties(slope, t, s);
    }
    let ds = exp(scores - lse[at]) * (g - deltas[t - first]);
    let keys = vec4(s, s + 1u, s + 2u, s + 3u);
    var seen = keys < vec4(end);
    if WINDOWED == 1u {
        seen &= keys + vec4(params.window) > vec4(t);
    }
    if SEGMENTS == 1u {
        seen &= same_segments(head / params.n_head, t, s);
    }
    return select(vec4(0.0), ds, seen);
}

fn store(b: u32, column: u32, t: u32, d: u32, x: vec4<f32>) {
    let row = b * params.time + t;
    let at = (row * (params.n_head + 2u * params.n_kv_head) + column) * params.width;
    for (var i = 0u; i < 4u; i++) {
        if t < params.time && d + i < params.width {
            dqkv[at + d + i] = x[i];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.time + ROWS - 1u) / ROWS;
    let number = group.x + group.y * groups.x;
    let head = number / blocks;
    if head >= params.heads {
        return;
    }
    let b = head / params.n_head;
    let h = head % params.n_head;
    // The heads of a group share a key and a value.
    let key = params.n_head + h / (params.n_head / params.n_kv_head);
    let value = key + params.n_kv_head;
    let slope = alibi_slope(h);
    let row = row_quad(local);
    let col = col_quad(local);
    let first = number % blocks * ROWS;
    let t = first + 4u * row;

    // All threads read them only after the barriers of the first tile.
    sum_deltas(local, head, b, h, first);

    var sums: array<Block, PARTS>;
    var end = params.time;
    if params.causal == 1u {
        end = min(end, first + ROWS);
    }
    var tile = 0u;
    if WINDOWED == 1u {
        tile = (first + 1u - min(first + 1u, params.window)) / TILE * TILE;
    }
    for (; tile < end; tile += TILE) {
        var scores = Block();
        var dp = Block();
        for (var part = 0u; part < PARTS; part++) {
            stage_queries(local, b, h, first, part * TILE);
            stage_keys(local, b, key, tile, part * TILE);
            workgroupBarrier();
            scores = multiply_add(row, col, scores);
            workgroupBarrier();
            stage_dout(local, b, h, first, part * TILE);
            stage_keys(local, b, value, tile, part * TILE);
            workgroupBarrier();
            dp = multiply_add(row, col, dp);
            workgroupBarrier();
        }
        let s = tile + 4u * col;
        stage_block(row, col, Block(
            ds_of(head, slope, first, t, s, scores.a, dp.a),
            ds_of(head, slope, first, t + 1u, s, scores.b, dp.b),
            ds_of(head, slope, first, t + 2u, s, scores.c, dp.c),
            ds_of(head, slope, first, t + 3u, s, scores.d, dp.d),
        ));
        for (var part = 0u; part < PARTS; part++) {
            stage_key_terms(local, b, key, tile, part * TILE);
            workgroupBarrier();
            sums[part] = multiply_add(row, col, sums[part]);
            workgroupBarrier();
        }
    }
    for (var part = 0u; part < PARTS; part++) {
        let d = part * TILE + 4u * col;
        store(b, h, t, d, sums[part].a * params.scale);
        store(b, h, t + 1u, d, sums[part].b * params.scale);
        store(b, h, t + 2u, d, sums[part].c * params.scale);
        store(b, h, t + 3u, d, sums[part].d * params.scale);
    }
}
