// attention_backward: dv_s = Σ_t m_ts p_ts dout_t, dk_s = Σ_t ds_ts q_t, dq_t = Σ_s ds_ts k_s,
// ds_ts = p_ts (m_ts dout_t·v_s - delta_t)/√D, p_ts = exp(q_t·k_s/√D - lse_t), delta_t = Σ_d dout_td out_td,
// m the mask of dropout
// qkv, dqkv (batch, time, n_head + 2 n_kv_head, width), out, dout (batch, time, n_head, width) in vectors of four
// channels; lse (batch, n_head, time); partials (batch, splits, time, n_head, width)
// n_head / n_kv_head heads share a key and a value; with `alibi`, their distance times a slope is taken from a score. A
// query sees `window` keys, itself the last.
// One workgroup of 128 threads per head of keys and split: of the blocks of 64 keys it takes every `splits`-th, and to
// each of them blocks of 64 queries, so that p and ds are computed once. It alone adds to the dq of its split, in order:
// in dqkv where there is one split, else in partials, which one_pass_sum adds up; and to dk and dv of its keys. f32 sums.

// first: the number, over all batches, of head 0 here; heads = batch · n_kv_head
struct Params {
    first: u32, heads: u32, n_head: u32, n_kv_head: u32, time: u32, scale: f32, width: u32, causal: u32, window: u32,
    salt: u32, threshold: u32, keep_scale: f32, alibi_heads: u32, alibi_step: f32,
    dropout: u32, alibi: u32, segmented: u32, splits: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> segments: array<u32>;
@group(0) @binding(7) var<uniform> params: Params;

// delta of four queries, in two halves
var<workgroup> deltas: array<vec4<f32>, 2u * QUADS>;

// Vectors in a head, and in a row of qkv and of out.
fn head_vectors() -> u32 {
    return params.width / 4u;
}

fn qkv_row() -> u32 {
    return (params.n_head + 2u * params.n_kv_head) * head_vectors();
}

fn out_row() -> u32 {
    return params.n_head * head_vectors();
}

// Vector d of rows t..t + 3 of the head that begins at `base`. Beyond the last row it is that row, which meets a p and a
// ds of 0; beyond the last channel 0.
fn qkv_rows(base: u32, t: u32, d: u32) -> mat4x4<f32> {
    if d >= head_vectors() {
        return mat4x4<f32>();
    }
    let last = params.time - 1u;
    let row = qkv_row();
    return mat4x4(
        qkv[base + min(t, last) * row + d],
        qkv[base + min(t + 1u, last) * row + d],
        qkv[base + min(t + 2u, last) * row + d],
        qkv[base + min(t + 3u, last) * row + d],
    );
}

fn dout_rows(base: u32, t: u32, d: u32) -> mat4x4<f32> {
    if d >= head_vectors() {
        return mat4x4<f32>();
    }
    let last = params.time - 1u;
    let row = out_row();
    return mat4x4(
        dout[base + min(t, last) * row + d],
        dout[base + min(t + 1u, last) * row + d],
        dout[base + min(t + 2u, last) * row + d],
        dout[base + min(t + 3u, last) * row + d],
    );
}

// Half of delta of one query per thread.
fn put_delta(local: u32, base: u32, query: u32) {
    let at = base + min(query + local % SIDE, params.time - 1u) * out_row();
    var sum = vec4<f32>();
    for (var d = local / SIDE; d < head_vectors(); d += 2u) {
        sum = fma(out[at + d], dout[at + d], sum);
    }
    deltas[local / SIDE * QUADS + local % SIDE / 4u][local % 4u] = sum.x + sum.y + sum.z + sum.w;
}

// 0, or 1/(1 - p), for query t and key s of head `head`
fn mask(head: u32, t: u32, s: u32) -> f32 {
    let index = ((params.first + head) * params.time + t) * params.time + s;
    let key = mask_key(step.seed, params.salt);
    return select(0.0, params.keep_scale, keep(key, index, params.threshold));
}

// What query t has to do with keys s..s + 3.
struct Pair { p: vec4<f32>, ds: vec4<f32> }

// m p and √D ds of query t and four keys, from q·k and dout·v; 0 where it does not see them.
fn pair(head: u32, slope: f32, t: u32, s: u32, products: vec4<f32>, dp: vec4<f32>, delta: f32) -> Pair {
    if t >= params.time {
        return Pair();
    }
    let keys = vec4(s, s + 1u, s + 2u, s + 3u);
    let end = select(params.time, t + 1u, params.causal == 1u);
    var scores = products * params.scale;
    if params.alibi == 1u {
        scores -= penalties(slope, t, s);
    }
    var seen = (keys < vec4(end)) & (keys + vec4(params.window) > vec4(t));
    if params.segmented == 1u {
        seen &= same_segments(head / params.n_head, t, s);
    }
    let p = select(vec4(0.0), exp(scores - lse[head * params.time + t]), seen);
    if params.dropout == 0u {
        return Pair(p, p * (dp - delta));
    }
    let m = vec4(mask(head, t, s), mask(head, t, s + 1u), mask(head, t, s + 2u), mask(head, t, s + 3u));
    return Pair(m * p, p * (m * dp - delta));
}

// The same of queries t..t + 3, whose products are the columns.
struct Pairs { p: mat4x4<f32>, ds: mat4x4<f32> }

fn pairs(
    head: u32, slope: f32, t: u32, s: u32, products: mat4x4<f32>, dp: mat4x4<f32>, delta: vec4<f32>,
) -> Pairs {
    let w = pair(head, slope, t, s, products[0], dp[0], delta.x);
    let x = pair(head, slope, t + 1u, s, products[1], dp[1], delta.y);
    let y = pair(head, slope, t + 2u, s, products[2], dp[2], delta.z);
    let z = pair(head, slope, t + 3u, s, products[3], dp[3], delta.w);
    return Pairs(mat4x4(w.p, x.p, y.p, z.p), mat4x4(w.ds, x.ds, y.ds, z.ds));
}

// Queries as terms: those of a turn are in the blocks of some threads.
fn put_queries(turn: u32, stage: u32, row: u32, col: u32, block: Block) {
    if row / 4u != stage % 2u {
        return;
    }
    if stage < 2u {
        put_left(turn, row % 4u * 4u, col, block.near);
    } else {
        put_left(turn, row % 4u * 4u, col, block.far);
    }
}

// Keys as terms: those of a turn are in the blocks of one warp.
fn put_keys(turn: u32, stage: u32, row: u32, col: u32, block: Block) {
    if col / 4u == stage {
        put_left(turn, col % 4u * 4u, row, transpose(block.near));
        put_left(turn, col % 4u * 4u, row + 8u, transpose(block.far));
    }
}

// Vector d of row t of the head that begins at `base`. What is not first is added to what the same thread has stored.
fn store(in_partials: bool, base: u32, t: u32, d: u32, is_first: bool, x: vec4<f32>) {
    if t >= params.time || d >= head_vectors() {
        return;
    }
    var sum = x;
    if in_partials {
        let at = base + t * out_row() + d;
        if !is_first {
            sum += partials[at];
        }
        partials[at] = sum;
    } else {
        let at = base + t * qkv_row() + d;
        if !is_first {
            sum += dqkv[at];
        }
        dqkv[at] = sum;
    }
}

// A thread's rows of a block from row t on.
fn store_block(in_partials: bool, base: u32, t: u32, d: u32, is_first: bool, scale: f32, block: Block) {
    store(in_partials, base, t, d, is_first, block.near[0] * scale);
    store(in_partials, base, t + 1u, d, is_first, block.near[1] * scale);
    store(in_partials, base, t + 2u, d, is_first, block.near[2] * scale);
    store(in_partials, base, t + 3u, d, is_first, block.near[3] * scale);
    store(in_partials, base, t + 32u, d, is_first, block.far[0] * scale);
    store(in_partials, base, t + 33u, d, is_first, block.far[1] * scale);
    store(in_partials, base, t + 34u, d, is_first, block.far[2] * scale);
    store(in_partials, base, t + 35u, d, is_first, block.far[3] * scale);
}

// A thread's rows of a dq to which the first block of keys adds nothing, from row t on.
fn store_zeros(in_partials: bool, base: u32, t: u32, col: u32) {
    for (var d = col; d < head_vectors(); d += QUADS) {
        for (var i = 0u; i < 8u; i++) {
            store(in_partials, base, t + i % 4u + i / 4u * 32u, d, true, vec4<f32>());
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    let head = number / params.splits;
    if head >= params.heads {
        return;
    }
    let split = number % params.splits;
    let is_split = params.splits > 1u;
    let b = head / params.n_kv_head;
    let members = params.n_head / params.n_kv_head;
    let of_item = b * params.time * qkv_row();
    let keys = of_item + (params.n_head + head % params.n_kv_head) * head_vectors();
    let values = keys + params.n_kv_head * head_vectors();
    let row = row_quad(local);
    let col = col_quad(local);

    // Half of the threads bring a block of 4 by 4 of the left operand, the others one of the right: of channels that are
    // terms, or of rows that are, neighbouring threads reading neighbouring memory.
    let is_left = local < SIDE;
    let channel = local % 4u;
    let channel_quad = local % SIDE / 4u;
    let term = local % SIDE / QUADS * 4u;
    let quad = local % QUADS;

    // Turns of 16 channels, twice, are followed by turns of 16 rows: per 64 channels four each for dv, dk and dq.
    let channel_turns = (head_vectors() + 3u) / 4u;
    let row_turns = (head_vectors() + QUADS - 1u) / QUADS * 12u;
    let turns = 2u * channel_turns + row_turns;
    // Turns so far, by which the two copies of the operands alternate.
    var turn = 0u;
    for (var first = split * SIDE; first < params.time; first += params.splits * SIDE) {
        let is_first_block = first == split * SIDE;
        var is_first = true;
        for (var member = 0u; member < members; member++) {
            let h = head % params.n_kv_head * members + member;
            let at = b * params.n_head + h;
            let slope = alibi_slope(h);
            let queries = of_item + h * head_vectors();
            let outs = b * params.time * out_row() + h * head_vectors();
            let of_split = (b * params.splits + split) * params.time * out_row() + h * head_vectors();
            let dq = select(queries, of_split, is_split);
            for (var query = 0u; query < params.time; query += SIDE) {
                let is_seen = (params.causal == 0u || query >= first) && query < first + SIDE - 1u + params.window;
                if !is_seen {
                    if is_first_block {
                        store_zeros(is_split, dq, query + 4u * row, col);
                    }
                    continue;
                }
                put_delta(local, outs, query);
                let t = query + 4u * row;
                let s = first + 4u * col;
                // First scores, then p; dp becomes ds.
                var p = Block();
                var ds = Block();
                var sum = Block();
                for (var i = 0u; i <= turns; i++) {
                    // The operands of turn i are fetched, those of the turn before multiplied.
                    var next = mat4x4<f32>();
                    let of_channels = i < 2u * channel_turns;
                    let of_scores = i < channel_turns;
                    let j = i - 2u * channel_turns;
                    let stage = j % 4u;
                    let product = j / 4u % 3u;
                    if of_channels {
                        let d = (i - select(channel_turns, 0u, of_scores)) * 4u + channel;
                        let row = select(first, query, is_left) + 4u * channel_quad;
                        if is_left && !of_scores {
                            next = dout_rows(outs, row, d);
                        } else {
                            next = qkv_rows(select(select(values, keys, of_scores), queries, is_left), row, d);
                        }
                        next = transpose(next);
                    } else if i < turns && !is_left {
                        let d = j / 12u * QUADS + quad;
                        let row = select(query, first, product == 2u) + stage * DEPTH + term;
                        if product == 0u {
                            next = dout_rows(outs, row, d);
                        } else {
                            next = qkv_rows(select(queries, keys, product == 2u), row, d);
                        }
                    }
                    if i > 0u {
                        sum = multiply_add(turn - 1u, row, col, sum);
                    }
                    if i == channel_turns {
                        p = sum;
                        sum = Block();
                    }
                    if i == 2u * channel_turns {
                        let near = pairs(at, slope, t, s, p.near, sum.near, deltas[row] + deltas[QUADS + row]);
                        let far = pairs(
                            at, slope, t + 32u, s, p.far, sum.far, deltas[row + 8u] + deltas[QUADS + row + 8u]);
                        p = Block(near.p, far.p);
                        ds = Block(near.ds, far.ds);
                        sum = Block();
                    }
                    if i > 2u * channel_turns && stage == 0u {
                        // A sum is whole: product 0 of the next channels comes after dq.
                        let d = (j / 4u - 1u) / 3u * QUADS + col;
                        if product == 0u {
                            store_block(is_split, dq, t, d, is_first_block, params.scale, sum);
                        } else {
                            let base = select(keys, values, product == 1u);
                            let scale = select(params.scale, 1.0, product == 1u);
                            store_block(false, base, first + 4u * row, d, is_first, scale, sum);
                        }
                        sum = Block();
                    }
                    if i < turns {
                        if of_channels && is_left {
                            put_left(turn, channel * 4u, channel_quad, next);
                        }
                        if !of_channels && product == 0u {
                            put_queries(turn, stage, row, col, p);
                        }
                        if !of_channels && product == 1u {
                            put_queries(turn, stage, row, col, ds);
                        }
                        if !of_channels && product == 2u {
                            put_keys(turn, stage, row, col, ds);
                        }
                        if !is_left {
                            let at_term = select(term, channel * 4u, of_channels);
                            put_right(turn, at_term, select(quad, channel_quad, of_channels), next);
                        }
                        workgroupBarrier();
                        turn++;
                    }
                }
                is_first = false;
            }
        }
    }
}
