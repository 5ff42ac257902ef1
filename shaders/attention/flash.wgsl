// attention: out_t = Σ_s p_ts v_s, p_ts = exp(q_t·k_s/√D - lse_t), lse_t = log Σ_s exp(q_t·k_s/√D), per head
// qkv (batch, time, n_head + 2 n_kv_head, width), out (batch, time, n_head, width), lse (batch, n_head, time)
// n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from a score.
// WINDOWED, a query sees `window` keys, itself the last.
// One workgroup of 128 threads per head and 64 queries; keys come in tiles of 32, channels 32 at a time.
// f32 sums, channel by channel and key by key.
// The softmax is online: when a tile brings a larger score, the sums so far are scaled down (Dao et al. 2022).
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
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;
@group(0) @binding(3) var<storage, read> segments: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

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

// Terms of `right`: 32 channels of 32 keys.
fn stage_keys(local: u32, b: u32, key: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        right[right_slot(i % TILE, i / TILE)] = vec4(
            load(b, key, t, d),
            load(b, key, t + 1u, d),
            load(b, key, t + 2u, d),
            load(b, key, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 keys, each with 32 channels of its value.
fn stage_values(local: u32, b: u32, value: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + i / COL_QUADS;
        let d = channel + 4u * (i % COL_QUADS);
        right[right_slot(i / COL_QUADS, i % COL_QUADS)] = vec4(
            load(b, value, t, d),
            load(b, value, t, d + 1u),
            load(b, value, t, d + 2u),
            load(b, value, t, d + 3u),
        );
    }
}

// Scores of query t against keys s..s + 3, with those it does not see far below all others.
fn visible(products: vec4<f32>, b: u32, slope: f32, t: u32, s: u32) -> vec4<f32> {
    var end = params.time;
    if params.causal == 1u {
        end = min(end, t + 1u);
    }
    var scores = products * params.scale;
    if ALIBI == 1u {
        scores -= penalties(slope, t, s);
    }
    let keys = vec4(s, s + 1u, s + 2u, s + 3u);
    scores = select(vec4(-3e38), scores, keys < vec4(end));
    if WINDOWED == 1u {
        scores = select(vec4(-3e38), scores, keys + vec4(params.window) > vec4(t));
    }
    if SEGMENTS == 1u {
        scores = select(vec4(-3e38), scores, same_segments(b, t, s));
    }
    return scores;
}

fn masks(head: u32, t: u32, s: u32) -> vec4<f32> {
    return vec4(mask(head, t, s), mask(head, t, s + 1u), mask(head, t, s + 2u), mask(head, t, s + 3u));
}

fn total(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}

fn store(b: u32, h: u32, t: u32, d: u32, x: vec4<f32>) {
    let at = ((b * params.time + t) * params.n_head + h) * params.width;
    for (var i = 0u; i < 4u; i++) {
        if t < params.time && d + i < params.width {
            out[at + d + i] = x[i];
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

    var sums: array<Block, PARTS>;
    // Of four queries: the largest score so far, and this thread's share of the sum of exponentials.
    var largest = vec4(-3e38);
    var share = vec4(0.0);
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
        for (var part = 0u; part < PARTS; part++) {
            stage_queries(local, b, h, first, part * TILE);
            stage_keys(local, b, key, tile, part * TILE);
            workgroupBarrier();
            scores = multiply_add(row, col, scores);
            workgroupBarrier();
        }
        let s = tile + 4u * col;
        scores.a = visible(scores.a, b, slope, t, s);
        scores.b = visible(scores.b, b, slope, t + 1u, s);
        scores.c = visible(scores.c, b, slope, t + 2u, s);
        scores.d = visible(scores.d, b, slope, t + 3u, s);

        // Eight threads hold the scores of a query: they exchange them through `left`.
        stage_block(row, col, scores);
        workgroupBarrier();
        var larger = largest;
        for (var i = 0u; i < TILE; i++) {
            larger = max(larger, left[left_slot(i, row)]);
        }
        workgroupBarrier();
        let shrink = exp(largest - larger);
        largest = larger;
        var p = Block(
            exp(scores.a - larger.x),
            exp(scores.b - larger.y),
            exp(scores.c - larger.z),
            exp(scores.d - larger.w),
        );
        share = share * shrink + vec4(total(p.a), total(p.b), total(p.c), total(p.d));
        if DROPOUT == 1u {
            p.a *= masks(head, t, s);
            p.b *= masks(head, t + 1u, s);
            p.c *= masks(head, t + 2u, s);
            p.d *= masks(head, t + 3u, s);
        }
        stage_block(row, col, p);
        for (var part = 0u; part < PARTS; part++) {
            stage_values(local, b, value, tile, part * TILE);
            workgroupBarrier();
            sums[part] = multiply_add(row, col, scaled(sums[part], shrink));
            workgroupBarrier();
        }
    }

    right[row * COL_QUADS + col] = share;
    workgroupBarrier();
    var sum = vec4(0.0);
    for (var i = 0u; i < COL_QUADS; i++) {
        sum += right[row * COL_QUADS + i];
    }
    for (var part = 0u; part < PARTS; part++) {
        let d = part * TILE + 4u * col;
        store(b, h, t, d, sums[part].a / sum.x);
        store(b, h, t + 1u, d, sums[part].b / sum.y);
        store(b, h, t + 2u, d, sums[part].c / sum.z);
        store(b, h, t + 3u, d, sums[part].d / sum.w);
    }
    if col < 4u && t + col < params.time {
        lse[head * params.time + t + col] = largest[col] + log(sum[col]);
    }
}
