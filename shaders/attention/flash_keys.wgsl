// attention_backward for keys and values: dv_s = Σ_t m_ts p_ts dout_t, dk_s = Σ_t ds_ts q_t,
// ds_ts = p_ts (m_ts dout_t·v_s - delta_t)/√D, p_ts = exp(q_t·k_s/√D - lse_t), m the mask of dropout
// qkv, dqkv (batch, time, n_head + 2 n_kv_head, width), dout (batch, time, n_head, width), lse, delta (batch, n_head,
// time) n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from a
// score. WINDOWED, a query sees `window` keys, itself the last. One workgroup of 128 threads per head of keys and
// 64 keys; the queries of the heads that share them come head by head in tiles of 32, channels 32 at a time. f32 sums,
// channel by channel and query by query.
const DROPOUT: u32 = 0u;
const ALIBI: u32 = 0u;
const SEGMENTS: u32 = 0u;
const WINDOWED: u32 = 0u;
const ROWS: u32 = 64u;
// tiles of 32 channels
const PARTS: u32 = 1u;

// first: the number, over all batches, of head 0 here; heads = batch · n_kv_head
struct Params {
    first: u32, heads: u32, n_head: u32, n_kv_head: u32, time: u32, scale: f32, width: u32, causal: u32, window: u32,
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

// Terms of `left`: 32 channels of 64 keys or values.
fn stage_keys(local: u32, b: u32, column: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * ROW_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        left[left_slot(i % TILE, i / TILE)] = vec4(
            load(b, column, t, d),
            load(b, column, t + 1u, d),
            load(b, column, t + 2u, d),
            load(b, column, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 channels of 32 queries.
fn stage_queries(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        right[right_slot(i % TILE, i / TILE)] = vec4(
            load(b, h, t, d),
            load(b, h, t + 1u, d),
            load(b, h, t + 2u, d),
            load(b, h, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 channels of 32 rows of dout.
fn stage_dout(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + 4u * (i / TILE);
        let d = channel + i % TILE;
        right[right_slot(i % TILE, i / TILE)] = vec4(
            load_dout(b, h, t, d),
            load_dout(b, h, t + 1u, d),
            load_dout(b, h, t + 2u, d),
            load_dout(b, h, t + 3u, d),
        );
    }
}

// Terms of `right`: 32 queries, each with 32 of its channels.
fn stage_query_terms(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + i / COL_QUADS;
        let d = channel + 4u * (i % COL_QUADS);
        right[right_slot(i / COL_QUADS, i % COL_QUADS)] = vec4(
            load(b, h, t, d),
            load(b, h, t, d + 1u),
            load(b, h, t, d + 2u),
            load(b, h, t, d + 3u),
        );
    }
}

// Terms of `right`: 32 rows of dout, each with 32 of its channels.
fn stage_dout_terms(local: u32, b: u32, h: u32, first: u32, channel: u32) {
    for (var i = local; i < TILE * COL_QUADS; i += THREADS) {
        let t = first + i / COL_QUADS;
        let d = channel + 4u * (i % COL_QUADS);
        right[right_slot(i / COL_QUADS, i % COL_QUADS)] = vec4(
            load_dout(b, h, t, d),
            load_dout(b, h, t, d + 1u),
            load_dout(b, h, t, d + 2u),
            load_dout(b, h, t, d + 3u),
        );
    }
}

// What query t has to do with keys s..s + 3 of a block.
struct Pair { p: vec4<f32>, ds: vec4<f32> }

// m p and √D ds of query t and four keys, from q·k and dout·v; 0 where it does not see them.
fn pair(head: u32, slope: f32, t: u32, s: u32, products: vec4<f32>, dp: vec4<f32>) -> Pair {
    if t >= params.time {
        return Pair();
    }
    let keys = vec4(s, s + 1u, s + 2u, s + 3u);
    var end = params.time;
    if params.causal == 1u {
        end = t + 1u;
    }
    let at = head * params.time + t;
    var scores = products * params.scale;
    if ALIBI == 1u {
        scores -= penalties(slope, t, s);
    }
    var seen = keys < vec4(end);
    if WINDOWED == 1u {
        seen &= keys + vec4(params.window) > vec4(t);
    }
    if SEGMENTS == 1u {
        seen &= same_segments(head / params.n_head, t, s);
    }
    let p = select(vec4(0.0), exp(scores - lse[at]), seen);
    var m = vec4(1.0);
    if DROPOUT == 1u {
        m = vec4(mask(head, t, s), mask(head, t, s + 1u), mask(head, t, s + 2u), mask(head, t, s + 3u));
    }
    return Pair(m * p, p * (m * dp - delta[at]));
}

fn transposed(x: Block) -> Block {
    return Block(
        vec4(x.a.x, x.b.x, x.c.x, x.d.x),
        vec4(x.a.y, x.b.y, x.c.y, x.d.y),
        vec4(x.a.z, x.b.z, x.c.z, x.d.z),
        vec4(x.a.w, x.b.w, x.c.w, x.d.w),
    );
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
    let b = head / params.n_kv_head;
    let members = params.n_head / params.n_kv_head;
    let key = params.n_head + head % params.n_kv_head;
    let value = key + params.n_kv_head;
    let row = row_quad(local);
    let col = col_quad(local);
    let first = number % blocks * ROWS;
    let s = first + 4u * row;

    var dk: array<Block, PARTS>;
    var dv: array<Block, PARTS>;
    for (var member = 0u; member < members; member++) {
        let h = head % params.n_kv_head * members + member;
        let at = b * params.n_head + h;
        let slope = alibi_slope(h);
        // The first query that sees a key of this block is its first key's own; 64 is a multiple of 32.
        var query = 0u;
        if params.causal == 1u {
            query = first;
        }
        var end = params.time;
        if WINDOWED == 1u {
            end = min(end, first + ROWS - 1u + params.window);
        }
        for (; query < end; query += TILE) {
            // Rows are keys, columns queries.
            var scores = Block();
            var dp = Block();
            for (var part = 0u; part < PARTS; part++) {
                stage_keys(local, b, key, first, part * TILE);
                stage_queries(local, b, h, query, part * TILE);
                workgroupBarrier();
                scores = multiply_add(row, col, scores);
                workgroupBarrier();
                stage_keys(local, b, value, first, part * TILE);
                stage_dout(local, b, h, query, part * TILE);
                workgroupBarrier();
                dp = multiply_add(row, col, dp);
                workgroupBarrier();
            }
            let t = query + 4u * col;
            scores = transposed(scores);
            dp = transposed(dp);
            let w = pair(at, slope, t, s, scores.a, dp.a);
            let x = pair(at, slope, t + 1u, s, scores.b, dp.b);
            let y = pair(at, slope, t + 2u, s, scores.c, dp.c);
            let z = pair(at, slope, t + 3u, s, scores.d, dp.d);
            stage_block(row, col, transposed(Block(w.p, x.p, y.p, z.p)));
            for (var part = 0u; part < PARTS; part++) {
                stage_dout_terms(local, b, h, query, part * TILE);
                workgroupBarrier();
                dv[part] = multiply_add(row, col, dv[part]);
                workgroupBarrier();
            }
            stage_block(row, col, transposed(Block(w.ds, x.ds, y.ds, z.ds)));
            for (var part = 0u; part < PARTS; part++) {
                stage_query_terms(local, b, h, query, part * TILE);
                workgroupBarrier();
                dk[part] = multiply_add(row, col, dk[part]);
                workgroupBarrier();
            }
        }
    }
    for (var part = 0u; part < PARTS; part++) {
        let d = part * TILE + 4u * col;
        let scaled_dk = scaled(dk[part], vec4(params.scale));
        store(b, key, s, d, scaled_dk.a);
        store(b, key, s + 1u, d, scaled_dk.b);
        store(b, key, s + 2u, d, scaled_dk.c);
        store(b, key, s + 3u, d, scaled_dk.d);
        store(b, value, s, d, dv[part].a);
        store(b, value, s + 1u, d, dv[part].b);
        store(b, value, s + 2u, d, dv[part].c);
        store(b, value, s + 3u, d, dv[part].d);
    }
}
